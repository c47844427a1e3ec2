// Command evalrun decides with honest numbers whether a small fine-tuned model
// beats a large one on a task. See README.md; the commands are in internal/cli.
package main

import (
	"os"

	"github.com/evalrun/evalrun/internal/cli"
)

func main() { os.Exit(cli.Main(os.Args[1:])) }
