package tier

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// Against a list kept by hand: the longest unused leave, no more of them than
// needed, nothing busy, and the budget holds.
func TestBook(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	const budget = 100
	b := New[int](budget)
	sizes := map[int]int64{}
	var order []int // the longest unused first
	for range 20000 {
		k := rng.IntN(30)
		if b.Has(k) {
			if rng.IntN(9) == 0 {
				b.Remove(k)
				delete(sizes, k)
				order = slices.DeleteFunc(order, func(x int) bool { return x == k })
				continue
			}
			b.Use(k)
			order = append(slices.DeleteFunc(order, func(x int) bool { return x == k }), k)
			continue
		}
		bytes, busy := int64(rng.IntN(60)), map[int]bool{}
		for range rng.IntN(8) {
			busy[rng.IntN(30)] = true
		}
		leave, ok := b.Room(bytes, func(k int) bool { return busy[k] })
		var want []int
		used := b.Used()
		for _, x := range order {
			if used+bytes > budget && !busy[x] {
				want = append(want, x)
				used -= sizes[x]
			}
		}
		if fits := used+bytes <= budget; fits != ok || ok && !slices.Equal(leave, want) {
			t.Fatalf("%d bytes beside %v of %v: %v %v, want %v %v", bytes, busy, order, leave, ok, want, fits)
		}
		if !ok {
			continue
		}
		for _, x := range leave {
			b.Remove(x)
			delete(sizes, x)
			order = slices.DeleteFunc(order, func(y int) bool { return y == x })
		}
		b.Add(k, bytes)
		sizes[k] = bytes
		order = append(order, k)
		sum := int64(0)
		for _, x := range sizes {
			sum += x
		}
		if sum != b.Used() || sum > budget {
			t.Fatalf("%d used, counted %d", b.Used(), sum)
		}
	}
}
