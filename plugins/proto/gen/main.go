// Command gen writes the Go code of the plugin protocol from its .proto files,
// without protoc: protocompile parses them, and the two official code
// generators, pinned as tools of this module, do the rest.
//
//	go run .          writes ../../pb
//	go run . -check   writes nothing; exits 1 when ../../pb is out of date
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/bufbuild/protocompile"
	"github.com/bufbuild/protocompile/protoutil"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/pluginpb"
)

const (
	module = "github.com/evalrun/evalrun/plugins"
	// Both paths are seen from this folder.
	protoRoot  = ".."
	pluginRoot = "../.."
)

// sources are the files of the protocol, below protoRoot.
var sources = []string{"evalrun/v1/backend.proto", "evalrun/v1/metric.proto"}

// generators are the tools in go.mod, by the last element of their path.
var generators = []string{"protoc-gen-go", "protoc-gen-go-grpc"}

func main() {
	check := flag.Bool("check", false, "compare with the files that are there and write nothing")
	flag.Parse()
	if err := run(*check); err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1)
	}
}

func run(check bool) error {
	request, err := parse()
	if err != nil {
		return err
	}
	files := map[string]string{}
	for _, name := range generators {
		if err := generate(name, request, files); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	if check {
		return compare(files)
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(pluginRoot, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// parse gives the request that a code generator reads: every file, those it
// imports before it.
func parse() ([]byte, error) {
	compiler := protocompile.Compiler{
		Resolver:       protocompile.WithStandardImports(&protocompile.SourceResolver{ImportPaths: []string{protoRoot}}),
		SourceInfoMode: protocompile.SourceInfoStandard,
	}
	compiled, err := compiler.Compile(context.Background(), sources...)
	if err != nil {
		return nil, err
	}
	request := &pluginpb.CodeGeneratorRequest{
		FileToGenerate: sources,
		Parameter:      proto.String("module=" + module),
	}
	seen := map[string]bool{}
	var add func(file protoreflect.FileDescriptor)
	add = func(file protoreflect.FileDescriptor) {
		if seen[file.Path()] {
			return
		}
		seen[file.Path()] = true
		imports := file.Imports()
		for i := range imports.Len() {
			add(imports.Get(i).FileDescriptor)
		}
		request.ProtoFile = append(request.ProtoFile, descriptor(file))
	}
	for _, file := range compiled {
		add(file)
	}
	return proto.Marshal(request)
}

func descriptor(file protoreflect.FileDescriptor) *descriptorpb.FileDescriptorProto {
	return protoutil.ProtoFromFileDescriptor(file)
}

// generate runs one code generator and adds its files, named from pluginRoot.
func generate(name string, request []byte, files map[string]string) error {
	cmd := exec.Command("go", "tool", name)
	cmd.Stdin = bytes.NewReader(request)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return err
	}
	var response pluginpb.CodeGeneratorResponse
	if err := proto.Unmarshal(out, &response); err != nil {
		return fmt.Errorf("its answer: %w", err)
	}
	if response.Error != nil {
		return errors.New(response.GetError())
	}
	for _, file := range response.File {
		files[file.GetName()] = file.GetContent()
	}
	return nil
}

// compare says which files differ from what the .proto files give, or are left
// over from earlier ones.
func compare(files map[string]string) error {
	var stale []string
	for name, text := range files {
		have, err := os.ReadFile(filepath.Join(pluginRoot, name))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		if string(have) != text {
			stale = append(stale, name)
		}
	}
	present, err := filepath.Glob(filepath.Join(pluginRoot, "pb", "*.pb.go"))
	if err != nil {
		return err
	}
	for _, path := range present {
		name := "pb/" + filepath.Base(path)
		if _, ok := files[name]; !ok {
			stale = append(stale, name)
		}
	}
	if len(stale) == 0 {
		return nil
	}
	slices.Sort(stale)
	return fmt.Errorf("out of date in plugins: %s\nrun: go generate ./plugins", strings.Join(stale, ", "))
}
