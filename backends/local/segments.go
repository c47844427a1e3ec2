package local

import (
	"errors"
	"fmt"
	"strings"

	"github.com/evalrun/evalrun/backends/local/chat"
	"github.com/evalrun/evalrun/backends/local/train"
	"github.com/evalrun/evalrun/core"
)

// segments writes the rows that are chats by the model's template, in parts
// that are learned and parts that are not. path names the file in errors.
func (in *inputs) segments(path string, rows []train.Row) error {
	for i := range rows {
		r := &rows[i]
		if r.Messages == nil {
			continue
		}
		if r.Prompt != "" || r.Completion != "" {
			return &core.UserError{Where: path, Message: fmt.Sprintf("row %s has messages and a prompt or completion", r.ID), Hint: "leave one of them out"}
		}
		if in.broken != nil {
			return &core.UserError{Where: path, Message: fmt.Sprintf("row %s: the model's chat template: %v", r.ID, in.broken), Hint: "repair it, or give rows of prompt and completion"}
		}
		var err error
		if r.Segments, r.Unfit, err = segment(in.writer, r.Messages); errors.Is(err, chat.ErrNone) {
			return &core.UserError{Where: path, Message: fmt.Sprintf("row %s has messages, and %v", r.ID, err), Hint: "put chat_template.jinja beside its weights, or give rows of prompt and completion"}
		} else if err != nil {
			r.Unfit = "the chat template refuses: " + err.Error()
		}
	}
	return nil
}

// segment finds the assistant's turns in a chat as the template writes it: each
// begins where the words that ask for an answer end, and ends with its last sign
// that is no white space, the mark of the turn's end included. unfit says why
// the chat cannot be learned.
func segment(w *chat.Writer, messages []train.Message) (out []train.Segment, unfit string, err error) {
	turns := make([]chat.Turn, len(messages))
	for i, m := range messages {
		turns[i] = chat.Turn{Role: strings.ToValidUTF8(m.Role, "\uFFFD"), Content: strings.ToValidUTF8(m.Content, "\uFFFD")}
	}
	done := "" // what the segments hold
	for i, m := range messages {
		if m.Role != "assistant" || m.Train != nil && !*m.Train {
			continue
		}
		if strings.TrimSpace(m.Content) == "" {
			return nil, fmt.Sprintf("turn %d, the assistant's, is empty", i+1), nil
		}
		before, err := w.Chat(turns[:i])
		if err != nil {
			return nil, "", err
		}
		whole, err := w.Whole(turns[:i+1])
		if err != nil {
			return nil, "", err
		}
		if !strings.HasPrefix(before.Text, done) || !strings.HasPrefix(whole.Text, before.Text) {
			return nil, fmt.Sprintf("the chat template writes what stands before turn %d otherwise once it is answered", i+1), nil
		}
		answer := strings.TrimRight(whole.Text[len(before.Text):], " \t\r\n")
		out = append(out, train.Segment{Text: before.Text[len(done):]},
			// A template without a mark for the end leaves it to EOS.
			train.Segment{Text: answer, Learned: true, End: strings.HasSuffix(answer, strings.TrimSpace(turns[i].Content))})
		done = before.Text + answer
	}
	if out == nil {
		return nil, "no turn of the assistant is to be learned", nil
	}
	return out, "", nil
}
