// Package demo holds the demonstration model: a small Llama-architecture model
// with its tokenizer in one GGUF file, really trained, on text that
// internal/demogen generates. README.md beside this file is its card.
package demo

import _ "embed"

// GGUF is the model file.
//
//go:embed demo.gguf
var GGUF []byte
