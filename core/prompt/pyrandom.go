package prompt

import "math"

// PythonRandom draws as Python's random.Random(seed) does: the Mersenne twister
// MT19937 of Matsumoto and Nishimura, seeded as CPython seeds it.
type PythonRandom struct {
	state [624]uint32
	next  int
}

// NewPythonRandom seeds a generator.
func NewPythonRandom(seed uint64) *PythonRandom {
	r := &PythonRandom{}
	key := []uint32{uint32(seed)}
	if seed>>32 != 0 {
		key = append(key, uint32(seed>>32))
	}
	mt := &r.state
	mt[0] = 19650218
	for i := uint32(1); i < 624; i++ {
		mt[i] = 1812433253*(mt[i-1]^mt[i-1]>>30) + i
	}
	i, j := 1, 0
	for k := max(624, len(key)); k > 0; k-- {
		mt[i] = (mt[i] ^ (mt[i-1]^mt[i-1]>>30)*1664525) + key[j] + uint32(j)
		if i++; i >= 624 {
			mt[0], i = mt[623], 1
		}
		j = (j + 1) % len(key)
	}
	for k := 623; k > 0; k-- {
		mt[i] = (mt[i] ^ (mt[i-1]^mt[i-1]>>30)*1566083941) - uint32(i)
		if i++; i >= 624 {
			mt[0], i = mt[623], 1
		}
	}
	mt[0], r.next = 1<<31, 624
	return r
}

func (r *PythonRandom) uint32() uint32 {
	mt := &r.state
	if r.next >= 624 {
		for i := range mt {
			y := mt[i]&(1<<31) | mt[(i+1)%624]&(1<<31-1)
			mt[i] = mt[(i+397)%624] ^ y>>1 ^ y&1*0x9908b0df
		}
		r.next = 0
	}
	y := mt[r.next]
	r.next++
	y ^= y >> 11
	y ^= y << 7 & 0x9d2c5680
	y ^= y << 15 & 0xefc60000
	return y ^ y>>18
}

// below draws from 0 up to n, which is less than 2³².
func (r *PythonRandom) below(n int) int {
	bits := 0
	for n>>bits > 0 {
		bits++
	}
	for {
		if v := int(r.uint32() >> (32 - bits)); v < n {
			return v
		}
	}
}

// Sample gives the places that random.sample takes of a list of n, k of them;
// k is at most n.
func (r *PythonRandom) Sample(n, k int) []int {
	out := make([]int, k)
	small := 21
	if k > 5 {
		small += 1 << (2 * int(math.Ceil(math.Log(float64(k)*3)/math.Log(4))))
	}
	if n <= small {
		pool := make([]int, n)
		for i := range pool {
			pool[i] = i
		}
		for i := range out {
			j := r.below(n - i)
			out[i] = pool[j]
			pool[j] = pool[n-i-1]
		}
		return out
	}
	taken := map[int]bool{}
	for i := range out {
		j := r.below(n)
		for taken[j] {
			j = r.below(n)
		}
		taken[j] = true
		out[i] = j
	}
	return out
}
