#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
#
# raterclient - the client that the author of rater published, in Python 3
#
# What it sends and what it expects is as it was: words and a line feed to port 1999, one recv(), the first word of the answer
# is the exit code.

import sys
from socket import AF_INET, SOCK_STREAM, socket

s = socket(AF_INET, SOCK_STREAM)
s.connect(("localhost", 1999))
words = " ".join(sys.argv[1:])
print("Sending: ", words)
s.send((words + "\n").encode("utf-8", "surrogateescape"))
data = s.recv(1024).decode()
sys.stderr.write(data)
sys.stderr.flush()
sys.exit(int(data.split(" ")[0]))
