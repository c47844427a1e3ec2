// Package extract turns a model's answer into the text that is judged: Python
// regular expressions, and pipelines of small steps.
//
// Patterns are written in the syntax of Python's re (version 3.11), because
// that is what published evaluations use, and they match what Python would
// match: [Compile] parses them as Python does, refuses what Python refuses, and
// writes them anew for the backtracking engine dlclark/regexp2. Every match has
// a time limit, so that a catastrophic pattern costs one sample, not the run.
package extract
