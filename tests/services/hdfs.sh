#!/usr/bin/env bash
# Apache Hadoop HDFS: a real NameNode and DataNode, each a JVM of its own, from Maven Central; needs a JDK 17 and Maven.
# usage: hdfs.sh install|start|stop|kill|kill-datanode|status|wipe|env|dfs ARGS...   (dfs: Hadoop's own shell, e.g. dfs -ls /)
#   HDFS_VERSION (3.5.0)  HDFS_RPC_PORT (9820)  HDFS_HTTP_PORT (9870, WebHDFS)
#   HDFS_DN_PORT (9866)  HDFS_DN_HTTP_PORT (9864)  HDFS_DN_IPC_PORT (9867)  HDFS_HEAP ("-Xms64m -Xmx384m")
# Simple authentication: a client is whoever it says it is (HADOOP_USER_NAME); permissions are checked.
. "$(dirname "$0")/lib.sh"
HDFS_VERSION=${HDFS_VERSION:-3.5.0} SLF4J_VERSION=2.0.17
HDFS_RPC_PORT=${HDFS_RPC_PORT:-9820} HDFS_HTTP_PORT=${HDFS_HTTP_PORT:-9870}
HDFS_DN_PORT=${HDFS_DN_PORT:-9866} HDFS_DN_HTTP_PORT=${HDFS_DN_HTTP_PORT:-9864} HDFS_DN_IPC_PORT=${HDFS_DN_IPC_PORT:-9867}
HDFS_HEAP=${HDFS_HEAP:--Xms64m -Xmx384m}
LIBS=$TIDEGATE_CACHE/hadoop-$HDFS_VERSION/libs
D=$TIDEGATE_SERVICES_DIR/hdfs NN=$D/namenode.pid DN=$D/datanode.pid

install() {
    local artifacts=()
    for part in common hdfs hdfs-client; do artifacts+=("org.apache.hadoop:hadoop-$part:$HDFS_VERSION"); done
    maven_jars "$LIBS" "${artifacts[@]}"
}
OPENS="--add-opens=java.base/java.lang=ALL-UNNAMED --add-opens=java.base/java.nio=ALL-UNNAMED --add-opens=java.base/sun.nio.ch=ALL-UNNAMED"
# shellcheck disable=SC2086
jvm() { java $JVM_FLAGS $OPENS -Dhadoop.log.dir="$D" -cp "$D/conf:$LIBS/*" "$@"; }
prop() { printf '<property><name>%s</name><value>%s</value></property>\n' "$1" "$2"; }
config() {
    mkdir -p "$D/conf" "$D/tmp" "$D/dn"
    # The jars on Maven Central carry no web pages; the servers refuse to start without their folders. WebHDFS needs none of the pages.
    for w in hdfs datanode static; do
        mkdir -p "$D/conf/webapps/$w/WEB-INF"
        echo '<web-app xmlns="http://java.sun.com/xml/ns/javaee" version="2.5"/>' >"$D/conf/webapps/$w/WEB-INF/web.xml"
    done
    { echo '<configuration>'
      prop fs.defaultFS "hdfs://$HOST:$HDFS_RPC_PORT"
      prop hadoop.tmp.dir "$D/tmp"
      prop hadoop.http.staticuser.user "$(id -un)"
      echo '</configuration>'; } >"$D/conf/core-site.xml"
    { echo '<configuration>'
      prop dfs.replication 1
      prop dfs.namenode.name.dir "file://$D/nn"
      prop dfs.datanode.data.dir "file://$D/dn"
      prop dfs.namenode.rpc-address "$HOST:$HDFS_RPC_PORT"
      prop dfs.namenode.http-address "$HOST:$HDFS_HTTP_PORT"
      prop dfs.datanode.address "$HOST:$HDFS_DN_PORT"
      prop dfs.datanode.http.address "$HOST:$HDFS_DN_HTTP_PORT"
      prop dfs.datanode.ipc.address "$HOST:$HDFS_DN_IPC_PORT"
      prop dfs.datanode.hostname localhost
      prop dfs.namenode.datanode.registration.ip-hostname-check false
      prop dfs.namenode.safemode.extension 0
      prop dfs.namenode.fs-limits.min-block-size 4096
      prop dfs.permissions.superusergroup "$(id -gn)"
      echo '</configuration>'; } >"$D/conf/hdfs-site.xml"
    cat >"$D/conf/log4j.properties" <<X
log4j.rootLogger=INFO,OUT
log4j.appender.OUT=org.apache.log4j.ConsoleAppender
log4j.appender.OUT.target=System.err
log4j.appender.OUT.layout=org.apache.log4j.PatternLayout
log4j.appender.OUT.layout.ConversionPattern=%d{ISO8601} %p %c{1}: %m%n
X
}
nn_ready() { port_open "$HDFS_RPC_PORT" && port_open "$HDFS_HTTP_PORT"; }
jmx() { curl -fsS "http://$HOST:$HDFS_HTTP_PORT/jmx?qry=Hadoop:service=NameNode,name=$1"; }
dn_ready() { jmx FSNamesystemState | grep -q '"NumLiveDataNodes" : 1' && jmx FSNamesystem | grep -q '"tag.HAState" : "active"' \
    && curl -fsS "http://$HOST:$HDFS_HTTP_PORT/jmx?get=Hadoop:service=NameNode,name=NameNodeInfo::Safemode" | grep -q '"Safemode" : ""'; }
start() {
    apt_for curl curl
    install
    if pid_of "$NN" >/dev/null && pid_of "$DN" >/dev/null; then say "hdfs already runs"; return 0; fi
    config
    if ! pid_of "$NN" >/dev/null; then
        port_free_or_die "$HDFS_RPC_PORT"; port_free_or_die "$HDFS_HTTP_PORT"
        [ -d "$D/nn/current" ] || jvm org.apache.hadoop.hdfs.server.namenode.NameNode -format -nonInteractive >"$D/format.log" 2>&1 \
            || { tail -n 20 "$D/format.log" >&2; die "could not format"; }
        # shellcheck disable=SC2086
        spawn "$NN" "$D/namenode.log" java $HDFS_HEAP $JVM_FLAGS $OPENS -Dhadoop.log.dir="$D" -cp "$D/conf:$LIBS/*" org.apache.hadoop.hdfs.server.namenode.NameNode
    fi
    if ! pid_of "$DN" >/dev/null; then
        port_free_or_die "$HDFS_DN_PORT"
        # shellcheck disable=SC2086
        spawn "$DN" "$D/datanode.log" java $HDFS_HEAP $JVM_FLAGS $OPENS -Dhadoop.log.dir="$D" -cp "$D/conf:$LIBS/*" org.apache.hadoop.hdfs.server.datanode.DataNode
    fi
    wait_until 180 "$NN" "$D/namenode.log" nn_ready
    wait_until 180 "$DN" "$D/datanode.log" dn_ready
    say "hdfs $HDFS_VERSION: hdfs://$HOST:$HDFS_RPC_PORT, WebHDFS http://$HOST:$HDFS_HTTP_PORT/webhdfs/v1"
}
case ${1:-} in
    install) install ;;
    start) start ;;
    stop) stop_pid "$DN" TERM 20; stop_pid "$NN" TERM 20 ;;
    kill) stop_pid "$DN" KILL 5; stop_pid "$NN" KILL 5 ;;
    kill-datanode) stop_pid "$DN" KILL 5 ;;
    wipe) stop_pid "$DN" KILL 5; stop_pid "$NN" KILL 5; rm -rf "$D" ;;
    status) if n=$(pid_of "$NN") && d=$(pid_of "$DN"); then echo "running $n $d"; else echo stopped; exit 3; fi ;;
    env) echo "export HDFS_URL=hdfs://$HOST:$HDFS_RPC_PORT WEBHDFS_URL=http://$HOST:$HDFS_HTTP_PORT HADOOP_CONF_DIR=$D/conf" ;;
    dfs) shift; jvm org.apache.hadoop.fs.FsShell "$@" ;;
    *) usage ;;
esac
