package boost

// predictBlock rows share a tree while it is in the cache.
const predictBlock = 128

// PredictAll writes the prediction for every row of x to out, the same as
// Predict one by one but faster: a tree stays in the cache for a block of rows,
// and several rows walk it at the same time.
func (m *Model) PredictAll(x Matrix, out []float64, par Par) {
	out = out[:x.Rows]
	each(par, (x.Rows+predictBlock-1)/predictBlock, func(i int) {
		from, to := i*predictBlock, min((i+1)*predictBlock, x.Rows)
		scores := out[from:to]
		for r := range scores {
			scores[r] = m.Base
		}
		data := x.Data[from*x.Cols : to*x.Cols]
		for t := range m.trees {
			m.trees[t].addTo(scores, data, x.Cols)
		}
		for r, s := range scores {
			scores[r] = m.answer(s)
		}
	})
}

// addTo adds the tree's answers to the scores of consecutive rows.
func (t *tree) addTo(scores []float64, data []float32, cols int) {
	nodes := t.nodes
	r := 0
	for ; r+4 <= len(scores); r += 4 {
		rows := data[r*cols : (r+4)*cols]
		a, b, c, d := rows[:cols], rows[cols:2*cols], rows[2*cols:3*cols], rows[3*cols:4*cols]
		i, j, k, l := int32(0), int32(0), int32(0), int32(0)
		for {
			ni, nj, nk, nl := &nodes[i], &nodes[j], &nodes[k], &nodes[l]
			i2, j2 := ni.step(a[ni.feature]), nj.step(b[nj.feature])
			k2, l2 := nk.step(c[nk.feature]), nl.step(d[nl.feature])
			if i2 == i && j2 == j && k2 == k && l2 == l {
				break
			}
			i, j, k, l = i2, j2, k2, l2
		}
		scores[r] += float64(nodes[i].value)
		scores[r+1] += float64(nodes[j].value)
		scores[r+2] += float64(nodes[k].value)
		scores[r+3] += float64(nodes[l].value)
	}
	for ; r < len(scores); r++ {
		row, at := data[r*cols:(r+1)*cols], int32(0)
		for next := nodes[0].step(row[nodes[0].feature]); next != at; next = nodes[at].step(row[nodes[at].feature]) {
			at = next
		}
		scores[r] += float64(nodes[at].value)
	}
}
