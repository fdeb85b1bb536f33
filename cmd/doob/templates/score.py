# Scores pictures for pictures.yaml, by how red they are. Replace redness by your own idea. Each line of input is a batch, each line of output its rewards.
import array, json, sys

def redness(p):  # p has height·width·3 numbers from -1 to 1: red, green, blue of the first pixel, of the second, …
    return 10 * (sum(p[0::3]) - sum(p[1::3]) / 2 - sum(p[2::3]) / 2) / (len(p) / 3)

for line in sys.stdin:
    batch = json.loads(line)
    data = open(batch["file"], "rb").read()  # safetensors: eight bytes for the length of a header, the header, the numbers
    x = array.array("f", data[8 + int.from_bytes(data[:8], "little"):])
    size = len(x) // batch["n"]
    print(json.dumps({"rewards": [redness(x[i * size:(i + 1) * size]) for i in range(batch["n"])]}), flush=True)
