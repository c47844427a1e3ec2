package plugins

import (
	"context"
	"errors"
	"io"
	"iter"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/plugins/pb"
)

var _ core.Trainer = (*remoteBackend)(nil)

// ErrNotTrainer is the answer of a backend that cannot fine-tune.
var ErrNotTrainer = errors.New("the backend does not train")

// Train runs the job in the plugin's process. The end of ctx is told to it, and
// the news go on until it has left a checkpoint.
func (b *remoteBackend) Train(ctx context.Context, job core.Job) iter.Seq2[core.TrainNews, error] {
	return func(yield func(core.TrainNews, error) bool) {
		inc, err := b.get(ctx)
		if err != nil {
			yield(core.TrainNews{}, err)
			return
		}
		// The stream outlives ctx, so that the last news arrive.
		life, cancel := context.WithCancel(context.WithoutCancel(ctx))
		defer cancel()
		client := pb.NewBackendClient(inc.conn())
		stream, err := client.Train(life, &pb.TrainRequest{Job: jobToPB(job)})
		if err != nil {
			yield(core.TrainNews{}, b.explain(inc, callError(life, err)))
			return
		}
		stop := context.AfterFunc(ctx, func() {
			// The header comes when the training can be stopped, not before.
			if _, err := stream.Header(); err != nil {
				return
			}
			if _, err := client.StopTraining(life, &pb.StopTrainingRequest{}); err != nil {
				cancel()
			}
		})
		defer stop()
		for {
			reply, err := stream.Recv()
			if errors.Is(err, io.EOF) {
				return
			}
			if err != nil {
				if status.Code(err) == codes.Unimplemented {
					err = ErrNotTrainer
				} else {
					err = b.explain(inc, callError(life, err))
				}
				yield(core.TrainNews{}, err)
				return
			}
			inc.answered.Store(true)
			news, err := trainNewsFromPB(reply)
			if err != nil {
				yield(core.TrainNews{}, err)
				return
			}
			if news.Kind != 0 && !yield(news, nil) {
				return
			}
			if news.Kind == core.ScoreNews {
				r := &pb.ScoreTrainingRequest{}
				if v := news.Score.Value; v != nil {
					r.Known, r.Value = true, *v
				}
				if _, err := client.ScoreTraining(life, r); err != nil {
					yield(core.TrainNews{}, b.explain(inc, callError(life, err)))
					return
				}
			}
		}
	}
}

// Train serves a job. One runs at a time: two would share the machine to no
// one's good.
func (s *backendServer) Train(r *pb.TrainRequest, stream pb.Backend_TrainServer) error {
	backend, done, err := s.use()
	if err != nil {
		return err
	}
	defer done()
	trainer, ok := backend.(core.Trainer)
	if !ok {
		return status.Error(codes.Unimplemented, ErrNotTrainer.Error())
	}
	ctx, cancel := context.WithCancel(stream.Context())
	defer cancel()
	defer context.AfterFunc(s.life, cancel)()
	s.mu.Lock()
	busy := s.stopTraining != nil
	scores := make(chan *float64, 1)
	if !busy {
		s.stopTraining, s.scores = cancel, scores
	}
	s.mu.Unlock()
	if busy {
		return stream.Send(&pb.TrainReply{News: &pb.TrainReply_Failure{Failure: failureToPB(errors.New("a training is running already in this process"))}})
	}
	defer func() {
		s.mu.Lock()
		s.stopTraining, s.scores = nil, nil
		s.mu.Unlock()
	}()
	if err := stream.SendHeader(nil); err != nil {
		return err
	}
	for news, err := range trainer.Train(ctx, jobFromPB(r.GetJob())) {
		if err != nil {
			return stream.Send(&pb.TrainReply{News: &pb.TrainReply_Failure{Failure: failureToPB(err)}})
		}
		select {
		case <-scores: // of no question
		default:
		}
		if err := stream.Send(trainNewsToPB(news)); err != nil {
			return err
		}
		if news.Kind == core.ScoreNews {
			// A stop waits for the score: without it the window cannot end.
			select {
			case news.Score.Value = <-scores:
			case <-stream.Context().Done():
				return stream.Context().Err()
			case <-s.life.Done():
				return s.life.Err()
			}
		}
	}
	return nil
}

// ScoreTraining hands a score to the training that waits for it.
func (s *backendServer) ScoreTraining(_ context.Context, r *pb.ScoreTrainingRequest) (*pb.ScoreTrainingReply, error) {
	var value *float64
	if r.GetKnown() {
		v := r.GetValue()
		value = &v
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case s.scores <- value: // never, where it is nil
		return &pb.ScoreTrainingReply{}, nil
	default:
		return nil, status.Error(codes.FailedPrecondition, "no training waits for a score")
	}
}

// StopTraining ends the training's context; the training ends by itself.
func (s *backendServer) StopTraining(context.Context, *pb.StopTrainingRequest) (*pb.StopTrainingReply, error) {
	s.leaveTraining()
	return &pb.StopTrainingReply{}, nil
}

// leaveTraining ends the context of a training; false where none runs.
func (s *backendServer) leaveTraining() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopTraining == nil {
		return false
	}
	s.stopTraining()
	return true
}
