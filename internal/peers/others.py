"""What llama.cpp and TensorBoard make of our files: others.py VERB, a JSON object on standard input, JSON lines out.

    llama   {model, lora, lines, out, greedy}  logits of every line's ids, raw float32 [T, V] in out.N, and greedy ids after them
    gguf    {path}                             keys and tensors of a GGUF file, by the package gguf
    events  {dir}                              scalars of a folder of event files, by tensorboard
"""
import json
import sys


def say(**line):
    print(json.dumps(line), flush=True)


def llama(job):
    import llama_cpp
    import numpy as np

    m = llama_cpp.Llama(model_path=job["model"], lora_path=job["lora"] or None, n_ctx=1024, n_batch=1024, n_threads=job.get("threads"), logits_all=True,
                        type_k=llama_cpp.GGML_TYPE_F32, type_v=llama_cpp.GGML_TYPE_F32, verbose=False)
    for i, line in enumerate(open(job["lines"])):
        ids = json.loads(line)["ids"]
        m.reset()
        m.eval(ids)
        logits = np.array(m.scores[: len(ids)], dtype=np.float32)
        logits.tofile(f"{job['out']}.{i}")
        row, more = logits[-1], []
        for _ in range(job["greedy"]):
            more.append(int(row.argmax()))
            m.eval(more[-1:])
            row = m.scores[m.n_tokens - 1]
        say(ids=more, shape=logits.shape)


def gguf(job):
    from gguf import GGUFReader

    r = GGUFReader(job["path"])
    for f in r.fields.values():
        if not f.name.startswith("GGUF."):
            say(key=f.name, value=str(f.contents()))
    for t in r.tensors:
        say(tensor=t.name, type=t.tensor_type.name, shape=[int(n) for n in reversed(t.shape)], sum=float(t.data.astype("float64").sum()))


def events(job):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    e = EventAccumulator(job["dir"], size_guidance={"scalars": 0})
    e.Reload()
    for tag in e.Tags()["scalars"]:
        for x in e.Scalars(tag):
            say(tag=tag, step=x.step, value=x.value, time=x.wall_time)


verbs = dict(llama=llama, gguf=gguf, events=events)
if __name__ == "__main__":
    verbs[sys.argv[1]](json.load(sys.stdin))
