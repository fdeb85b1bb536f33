#!/bin/sh
# The reward of score.py without Python: the brighter a picture, the better.   rewards: [{command: [sh, score.sh]}]
while read -r request; do
	file=$(expr "$request" : '.*"file":"\([^"]*\)"')
	offset=$(expr "$request" : '.*"offset":\([0-9]*\)')
	n=$(expr "$request" : '.*"shape":\[\([0-9]*\)')
	od -A n -v -t f4 -j "$offset" "$file" | awk -v n="$n" '
		{ for (i = 1; i <= NF; i++) x[numbers++] = $i }
		END {
			for (i = 0; i < n; i++) {
				sum = 0
				for (k = 0; k < numbers / n; k++) sum += x[i * numbers / n + k]
				list = list (i ? "," : "") sprintf("%.9g", 10 * sum / (numbers / n))
			}
			print "{\"rewards\":[" list "]}"
		}'
done
