package cli

import "github.com/evalrun/evalrun/results"

func writeReports(*results.Folder, results.Scores) error { return nil }
