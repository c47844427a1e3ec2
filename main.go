// Command evalrun decides with honest numbers whether a small fine-tuned model
// beats a large one on a task. See README.md; the commands live in internal/cli.
package main

func main() {}
