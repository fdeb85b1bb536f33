# A reward in Python, with numpy: the brighter a picture, the better.   rewards: [{command: [python3, score.py]}]
import json
import sys

import numpy as np

for line in sys.stdin:
    request = json.loads(line)
    x = np.fromfile(request["file"], "<f4", offset=request["offset"]).reshape(request["shape"])  # [n, height, width, channel], -1 is black and 1 white
    rewards = 10 * x.reshape(len(x), -1).mean(axis=1)
    print(json.dumps({"rewards": rewards.tolist()}), flush=True)
