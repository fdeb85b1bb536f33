package plan

import (
	"slices"
	"strings"

	"github.com/gomlx/compute/dtypes"
)

// shareSums lets a step that is the gradient of an attention read what the step that computed its result, y, knows of the softmax: a
// second result of that one, the logarithm of the sum of exponentials of every query, [batch, heads, queries], is appended to its operands.
func (l *lowering) shareSums(gradient *Step) {
	op := gradient.Op.(Named)
	name, ok := strings.CutSuffix(op.Name, "attention_grad")
	if !ok {
		return
	}
	for _, s := range l.steps {
		if f, ok := s.Op.(Named); !ok || f.Name != name+"attention" || s.Out[0] != gradient.In[1] || !slices.Equal(s.In, gradient.In[2:]) {
			continue
		}
		if len(s.Out) == 1 {
			q := op.In[2]
			s.Out = append(slices.Clone(s.Out), &Value{DType: dtypes.Float32, Dims: []int{q[0], q[2], q[1]}})
		}
		gradient.In = append(gradient.In, s.Out[1])
		return
	}
}
