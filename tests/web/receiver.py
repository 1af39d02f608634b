"""Receives alerts as Slack and a mail server would, and keeps them: one JSON a line.

usage: receiver.py HTTP_PORT SMTP_PORT FILE
"""
import http.server, json, socketserver, sys, threading

out = open(sys.argv[3], "a", buffering=1)
lock = threading.Lock()


def keep(kind, what):
    with lock:
        out.write(json.dumps({"kind": kind, "what": what}) + "\n")


class Slack(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        keep("slack", {"path": self.path, "type": self.headers["Content-Type"], "message": json.loads(body)})
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_):
        pass


class Mail(socketserver.StreamRequestHandler):
    def handle(self):
        self.wfile.write(b"220 here\r\n")
        lines, in_data = [], False
        for raw in self.rfile:
            line = raw.decode("utf-8", "replace").rstrip("\r\n")
            if in_data:
                if line == ".":
                    in_data = False
                    keep("mail", "\n".join(lines))
                    self.wfile.write(b"250 kept\r\n")
                else:
                    lines.append(line)
                continue
            word = line[:4].upper()
            if word == "DATA":
                in_data, lines = True, []
                self.wfile.write(b"354 go on\r\n")
            elif word == "QUIT":
                self.wfile.write(b"221 bye\r\n")
                return
            else:
                self.wfile.write(b"250 ok\r\n")


socketserver.ThreadingTCPServer.allow_reuse_address = True
mail = socketserver.ThreadingTCPServer(("127.0.0.1", int(sys.argv[2])), Mail)
threading.Thread(target=mail.serve_forever, daemon=True).start()
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Slack).serve_forever()
