package openai

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"testing"

	"github.com/evalrun/evalrun/core"
)

// rawServer answers on bare connections, so that the benchmark measures the
// backend and little else.
func rawServer(b *testing.B) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { l.Close() })
	body := `{"id":"x","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"positive"},"finish_reason":"stop"}],"usage":{"prompt_tokens":120,"completion_tokens":2,"total_tokens":122}}`
	reply := []byte("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: " + strconv.Itoa(len(body)) + "\r\n\r\n" + body)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				r := bufio.NewReader(c)
				for {
					length := 0
					for {
						line, err := r.ReadString('\n')
						if err != nil {
							return
						}
						if v, ok := strings.CutPrefix(line, "Content-Length: "); ok {
							length, _ = strconv.Atoi(strings.TrimSpace(v))
						}
						if line == "\r\n" {
							break
						}
					}
					if _, err := io.CopyN(io.Discard, r, int64(length)); err != nil {
						return
					}
					if _, err := c.Write(reply); err != nil {
						return
					}
				}
			}()
		}
	}()
	return "http://" + l.Addr().String() + "/v1"
}

// BenchmarkLoopback: 64 in flight against a server that answers at once, client
// and server on the same cores; the target is 8,000 requests/s on two.
func BenchmarkLoopback(b *testing.B) {
	be := newBackend(b, rawServer(b), "m", nil)
	s, err := be.Open(context.Background())
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	prompt := strings.Repeat("The film was a delight from start to end. ", 12)
	room := make(chan struct{}, 64)
	b.ReportAllocs()
	b.ResetTimer()
	go func() {
		for i := range b.N {
			room <- struct{}{}
			r := generate(prompt)
			r.ID = fmt.Sprint(i)
			if err := s.Send(r); err != nil {
				b.Errorf("send: %v", err)
				return
			}
		}
	}()
	got := 0
	for ev, err := range s.Events() {
		if err != nil || ev.Kind == core.EventError {
			b.Fatalf("%v, %v", err, ev.Err)
		}
		<-room
		if got++; got == b.N {
			break
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "requests/s")
}
