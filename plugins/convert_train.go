package plugins

import (
	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/plugins/pb"
)

func jobToPB(j core.Job) *pb.Job {
	return &pb.Job{Data: j.Data, Validation: j.Validation, Out: j.Out, Recipe: j.Recipe, PlanOnly: j.PlanOnly, Memory: j.Memory, Metric: j.Metric, LowerIsBetter: j.LowerIsBetter}
}

func jobFromPB(j *pb.Job) core.Job {
	return core.Job{Data: j.GetData(), Validation: j.GetValidation(), Out: j.GetOut(), Recipe: j.GetRecipe(), PlanOnly: j.GetPlanOnly(), Memory: j.GetMemory(), Metric: j.GetMetric(), LowerIsBetter: j.GetLowerIsBetter()}
}

func trainPlanToPB(p *core.TrainPlan) *pb.TrainPlan {
	return &pb.TrainPlan{
		Recipe: p.Recipe, Examples: int64(p.Examples), Validation: int64(p.Validation),
		Truncated: int64(p.Truncated), Cut: int64(p.Cut), Left: p.Left,
		PromptTokens: int64(p.PromptTokens), TotalTokens: int64(p.TotalTokens),
		Parameters: p.Parameters, Model: p.Model, Steps: int64(p.Steps), Updates: int64(p.Updates),
		Memory:    each(p.Memory, func(m core.MemoryPart) *pb.MemoryPart { return &pb.MemoryPart{Name: m.Name, Bytes: m.Bytes} }),
		Recompute: p.Recompute, Resumed: int64(p.Resumed), SecondsPerStep: p.SecondsPerStep, Batch: p.Batch,
	}
}

func trainPlanFromPB(p *pb.TrainPlan) *core.TrainPlan {
	return &core.TrainPlan{
		Recipe: p.GetRecipe(), Examples: int(p.GetExamples()), Validation: int(p.GetValidation()),
		Truncated: int(p.GetTruncated()), Cut: int(p.GetCut()), Left: same(p.GetLeft()),
		PromptTokens: int(p.GetPromptTokens()), TotalTokens: int(p.GetTotalTokens()),
		Parameters: p.GetParameters(), Model: p.GetModel(), Steps: int(p.GetSteps()), Updates: int(p.GetUpdates()),
		Memory: each(p.GetMemory(), func(m *pb.MemoryPart) core.MemoryPart {
			return core.MemoryPart{Name: m.GetName(), Bytes: m.GetBytes()}
		}),
		Recompute: p.GetRecompute(), Resumed: int(p.GetResumed()), SecondsPerStep: p.GetSecondsPerStep(), Batch: same(p.GetBatch()),
	}
}

func trainStepToPB(s *core.TrainStep) *pb.TrainStep {
	return &pb.TrainStep{
		Step: int64(s.Step), Updates: int64(s.Updates), Loss: s.Loss, Smoothed: s.Smoothed, Lr: s.LR, GradNorm: s.GradNorm,
		Tokens: int64(s.Tokens), Seconds: s.Seconds, Evaluated: s.Evaluated, Validation: s.Validation,
		Checkpoint: s.Checkpoint, PeakMemory: s.PeakMemory, Scored: s.Scored, Score: s.Score,
	}
}

func trainStepFromPB(s *pb.TrainStep) *core.TrainStep {
	return &core.TrainStep{
		Step: int(s.GetStep()), Updates: int(s.GetUpdates()), Loss: s.GetLoss(), Smoothed: s.GetSmoothed(), LR: s.GetLr(), GradNorm: s.GetGradNorm(),
		Tokens: int(s.GetTokens()), Seconds: s.GetSeconds(), Evaluated: s.GetEvaluated(), Validation: s.GetValidation(),
		Checkpoint: s.GetCheckpoint(), PeakMemory: s.GetPeakMemory(), Scored: s.GetScored(), Score: s.GetScore(),
	}
}

func trainEndToPB(e *core.TrainEnd) *pb.TrainEnd {
	return &pb.TrainEnd{
		Adapter: e.Adapter, Hash: e.Hash, Finished: e.Finished, Early: e.Early, Step: int64(e.Step), Updates: int64(e.Updates),
		Seconds: e.Seconds, Best: e.Best, BestStep: int64(e.BestStep), Scored: e.Scored, BestScore: e.BestScore,
	}
}

func trainEndFromPB(e *pb.TrainEnd) *core.TrainEnd {
	return &core.TrainEnd{
		Adapter: e.GetAdapter(), Hash: e.GetHash(), Finished: e.GetFinished(), Early: e.GetEarly(), Step: int(e.GetStep()), Updates: int(e.GetUpdates()),
		Seconds: e.GetSeconds(), Best: e.GetBest(), BestStep: int(e.GetBestStep()), Scored: e.GetScored(), BestScore: e.GetBestScore(),
	}
}

func trainNewsToPB(n core.TrainNews) *pb.TrainReply {
	switch n.Kind {
	case core.PlanNews:
		return &pb.TrainReply{News: &pb.TrainReply_Plan{Plan: trainPlanToPB(n.Plan)}}
	case core.StepNews:
		return &pb.TrainReply{News: &pb.TrainReply_Step{Step: trainStepToPB(n.Step)}}
	case core.EndNews:
		return &pb.TrainReply{News: &pb.TrainReply_End{End: trainEndToPB(n.End)}}
	case core.ScoreNews:
		return &pb.TrainReply{News: &pb.TrainReply_Score{Score: &pb.TrainScore{Step: int64(n.Score.Step), Adapter: n.Score.Adapter, Rows: int64(n.Score.Rows)}}}
	}
	return &pb.TrainReply{}
}

// trainNewsFromPB translates a message; a failure is an error.
func trainNewsFromPB(r *pb.TrainReply) (core.TrainNews, error) {
	switch x := r.GetNews().(type) {
	case *pb.TrainReply_Plan:
		return core.TrainNews{Kind: core.PlanNews, Plan: trainPlanFromPB(x.Plan)}, nil
	case *pb.TrainReply_Step:
		return core.TrainNews{Kind: core.StepNews, Step: trainStepFromPB(x.Step)}, nil
	case *pb.TrainReply_End:
		return core.TrainNews{Kind: core.EndNews, End: trainEndFromPB(x.End)}, nil
	case *pb.TrainReply_Score:
		s := x.Score
		return core.TrainNews{Kind: core.ScoreNews, Score: &core.TrainScore{Step: int(s.GetStep()), Adapter: s.GetAdapter(), Rows: int(s.GetRows())}}, nil
	case *pb.TrainReply_Failure:
		return core.TrainNews{}, failureFromPB(x.Failure)
	}
	return core.TrainNews{}, nil // news of a later version
}
