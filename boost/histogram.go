package boost

// slots per feature: MaxBins and the missing ones. A byte cannot address a slot
// outside, which spares a check in the innermost loop.
const slots = 256

// sums holds the sums of a group's features, bin by bin.
type sums [lanes][slots]int64

// histogram holds a leaf's sums per group of features.
type histogram struct {
	first  []sums
	second []sums // nil when every row's second derivative is 1
}

func newHistogram(groups int, curved bool) *histogram {
	h := &histogram{first: make([]sums, groups)}
	if curved {
		h.second = make([]sums, groups)
	}
	return h
}

// addGroup adds up one group of four features: words are the bins of all rows,
// first[i] belongs to rows[i].
func (s *sums) addGroup(words []uint32, rows []int32, first []int64) {
	first = first[:len(rows)]
	a, b, c, d := &s[0], &s[1], &s[2], &s[3]
	for i, row := range rows {
		w, g := words[row], first[i]
		a[uint8(w)] += g
		b[uint8(w>>8)] += g
		c[uint8(w>>16)] += g
		d[uint8(w>>24)] += g
	}
}

// addLane adds up one feature of a group that is not full.
func (s *sums) addLane(lane int, words []uint32, rows []int32, first []int64) {
	first = first[:len(rows)]
	a, shift := &s[lane&(lanes-1)], 8*lane&31
	for i, row := range rows {
		a[uint8(words[row]>>shift)] += first[i]
	}
}

// add adds up the features of a group, used of them.
func (s *sums) add(used int, words []uint32, rows []int32, first []int64) {
	*s = sums{}
	if used > lanes/2 {
		s.addGroup(words, rows, first)
		return
	}
	for lane := range used {
		s.addLane(lane, words, rows, first)
	}
}

// subtract leaves in one feature's bins what the child does not hold: the
// sibling's sums.
func subtract(parent, child *[slots]int64, bins int) {
	a, b := parent[:bins], child[:bins]
	for i := range a {
		a[i] -= b[i]
	}
}
