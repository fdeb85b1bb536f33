# The reward of score.py as a server: python3 serve.py 8000.   rewards: [{http: "http://localhost:8000"}]
import json
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer

import numpy as np


class Score(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))  # safetensors: the header's length, the header, the numbers
        data = 8 + int.from_bytes(body[:8], "little")
        x = np.frombuffer(body, "<f4", offset=data).reshape(json.loads(body[8:data])["x"]["shape"])
        rewards = 10 * x.reshape(len(x), -1).mean(axis=1)
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps({"rewards": rewards.tolist()}).encode())


server = HTTPServer(("localhost", int(sys.argv[1])), Score)
print("listening on port", server.server_port, flush=True)
server.serve_forever()
