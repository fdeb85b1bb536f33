# Scores pictures for pictures.yaml, by how red they are. Replace redness by your own idea. Each line of input is a batch, each line of output its rewards.
import array, json, sys

def redness(p):  # p has height·width·3 numbers from -1 to 1: red, green, blue of the first pixel, of the second, …
    return 30 * (sum(p[0::3]) - sum(p[1::3]) / 2 - sum(p[2::3]) / 2) / (len(p) / 3)

for line in sys.stdin:
    batch = json.loads(line)
    x = array.array("f", open(batch["file"], "rb").read()[batch["offset"]:])
    n = batch["shape"][0]  # of pictures
    size = len(x) // n
    print(json.dumps({"rewards": [redness(x[i * size:(i + 1) * size]) for i in range(n)]}), flush=True)
