package fsm

// ring keeps the newest items within a count and a total weight. Elements are
// never overwritten in place, so a copy of the struct is an immutable capture.
type ring[T any] struct {
	items  []T // oldest first
	weight int
}

func (r *ring[T]) push(item T, maxCount, maxWeight int, weigh func(T) int) {
	r.items = append(r.items, item)
	r.weight += weigh(item)
	for len(r.items) > 1 && (len(r.items) > maxCount || r.weight > maxWeight) {
		r.drop(weigh)
	}
}

func (r *ring[T]) drop(weigh func(T) int) T {
	oldest := r.items[0]
	r.weight -= weigh(oldest)
	r.items = r.items[1:]
	return oldest
}
