#!/usr/bin/env python3
"""The bucket tidegate of the S3 server that the environment names.

usage: bucket.py empty            removes everything in it
       bucket.py copy FROM TO     copies a folder of it to this disk
"""

import os
import shutil
import sys

from pyarrow import fs

BUCKET = "tidegate"


def main(what, *arguments):
    s3 = fs.S3FileSystem(endpoint_override=os.environ["AWS_ENDPOINT_URL"], region="us-east-1")
    if what == "empty":
        # File by file: some servers list a folder once more that they have just removed.
        for entry in s3.get_file_info(fs.FileSelector(BUCKET, recursive=True)):
            if entry.type == fs.FileType.File:
                s3.delete_file(entry.path)
    else:
        source, target = arguments
        shutil.rmtree(target, ignore_errors=True)
        fs.copy_files(f"{BUCKET}/{source}", target, source_filesystem=s3)


main(*sys.argv[1:])
