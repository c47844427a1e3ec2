package plugins

import (
	"fmt"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/plugins/pb"
)

// Sizes of the border. Both sides are built from this file, and docs/plugins.md
// states the ones that an author in another language must keep.
const (
	// MaxMessage is the largest single request or event, in encoded bytes. A
	// larger one is refused on its own; the session goes on.
	MaxMessage = 64 << 20
	// grpcLimit leaves room for the frame around the largest message.
	grpcLimit = MaxMessage + 1<<16
	// batchBytes is about where a message with several requests or events is
	// cut: well below 4 MiB, which is gRPC's own limit for readers that set
	// none. A single item above it travels alone.
	batchBytes = 1 << 20
	// window is the number of requests that may wait at the far side before
	// its session takes them; windowBytes bounds them too, save the last one.
	window      = 1024
	windowBytes = 32 << 20
	// ackEvery and ackBytes say when the far side reports what left its
	// waiting queue, if no event is there to carry the report.
	ackEvery = 128
	ackBytes = 1 << 20
	// eventBytes bounds the events that wait on either side for a slow reader.
	eventBytes = 8 << 20
	// flowWindow is the HTTP/2 window: fixed, since the guessing that gRPC
	// does otherwise costs pings on a line that never leaves the machine.
	flowWindow = 4 << 20
)

func serverOptions() []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.MaxRecvMsgSize(grpcLimit),
		grpc.MaxSendMsgSize(grpcLimit),
		grpc.InitialWindowSize(flowWindow),
		grpc.InitialConnWindowSize(2 * flowWindow),
	}
}

func dialOptions() []grpc.DialOption {
	return []grpc.DialOption{
		grpc.WithDefaultCallOptions(
			grpc.MaxCallRecvMsgSize(grpcLimit),
			grpc.MaxCallSendMsgSize(grpcLimit),
		),
		grpc.WithInitialWindowSize(flowWindow),
		grpc.WithInitialConnWindowSize(2 * flowWindow),
	}
}

// perItem is more than the encoding of any of the small messages within a
// request or event takes beside its text.
const perItem = 128

// requestSize is an upper estimate of the encoded size, cheap to make.
func requestSize(r *core.Request) int {
	n := 2*perItem + len(r.ID) + len(r.Prompt) + len(r.Adapter) + len(r.Task) + len(r.Sample)
	for i := range r.Messages {
		n += perItem + len(r.Messages[i].Role) + len(r.Messages[i].Content)
	}
	for _, s := range r.Continuations {
		n += perItem + len(s)
	}
	for _, s := range r.Choices {
		n += perItem + len(s)
	}
	for i := range r.Until {
		n += perItem + len(r.Until[i].Expr) + len(r.Until[i].Flags)
	}
	for _, s := range r.Generation.Stop {
		n += perItem + len(s)
	}
	return n
}

// eventSize is an upper estimate of the encoded size, cheap to make.
func eventSize(e *core.Event) int {
	n := perItem + len(e.ID) + len(e.Text)
	if r := e.Response; r != nil {
		n += responseSize(r)
	}
	if x := e.Err; x != nil {
		n += perItem + len(x.Message) + len(x.Hint)
	}
	if p := e.Progress; p != nil {
		n += perItem + len(p.Stage) + len(p.Message)
	}
	return n
}

func responseSize(r *core.Response) int {
	return 2*perItem + len(r.ID) + len(r.Text) + 8*len(r.Logprobs) + 32*len(r.Scores) +
		4*len(r.Embedding) + 10*len(r.Tokens)
}

// tooLarge tells whether a message is above MaxMessage. The estimate decides
// where it can; only above it is the size computed.
func tooLarge(m proto.Message, estimate int) (int, bool) {
	if estimate <= MaxMessage {
		return estimate, false
	}
	n := proto.Size(m)
	return n, n > MaxMessage
}

func mib(n int) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }

// final tells whether an event is the last one of its request.
func final(e *pb.Event) bool {
	switch e.GetWhat().(type) {
	case *pb.Event_Response, *pb.Event_Error:
		return true
	}
	return false
}
