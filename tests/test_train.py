"""llmbook.train: the loop does what it says, also when killed, split, compiled or in bfloat16."""

import dataclasses
import importlib
import itertools
import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from llmbook.checkpoints import from_huggingface
from llmbook.gpt import GPT, GPTConfig
from llmbook.train import (
    TrainConfig,
    evaluate,
    held_out_windows,
    learning_rate,
    next_token_loss,
    pick_device,
    random_windows,
    train,
)

TOKENS = torch.arange(600) * torch.arange(600) % 11
BATCH_AT = random_windows(TOKENS[:500], batch_size=4, context_length=8, seed=1)
HELD_OUT = held_out_windows(TOKENS[500:], batch_size=5, context_length=8)
CONFIG = TrainConfig(steps=6, learning_rate=3e-3, warmup_steps=2)


# Gloo: the loopback device is enough, and is found without asking for the machine's name.
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}


@pytest.fixture(autouse=True)
def one_thread():
    """As in the processes that tests start: with more threads, sums are rounded differently."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def gpt(seed=0, **options):
    torch.manual_seed(seed)
    return GPT(GPTConfig(vocab_size=11, d_model=16, context_length=8, **options))


def with_dropout(p=0.5):
    torch.manual_seed(0)
    return nn.Sequential(nn.Embedding(11, 16), nn.Dropout(p), nn.Linear(16, 11))


def losses(records):
    return [record["loss"] for record in records]


def same(one, other):
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def in_a_process(function, *arguments, launcher=()):
    """Return the command that calls a function of this file; see the file's last lines."""
    return [sys.executable, *launcher, __file__, function.__name__, *map(str, arguments)]


def succeed(command):
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


# The configuration and the schedule.


@pytest.mark.parametrize(
    "changes",
    [
        {"steps": 0},
        {"learning_rate": 0.0},
        {"learning_rate": math.nan},
        {"warmup_steps": -1},
        {"warmup_steps": 7},
        {"final_fraction": 1.5},
        {"weight_decay": -0.1},
        {"betas": (0.9, 1.0)},
        {"clip": 0.0},
        {"log_every": 0},
        {"eval_every": -1},
        {"checkpoint_every": -1},
        {"precision": "float16"},
        {"seed": -1},
    ],
    ids=str,
)
def test_a_bad_configuration_is_named(changes):
    ((name, value),) = changes.items()
    with pytest.raises(ValueError, match=f"{name} must be .* got ") as error:
        dataclasses.replace(CONFIG, **changes)
    assert str(value) in str(error.value)


def test_the_learning_rate_rises_on_a_line_and_falls_on_a_cosine():
    config = TrainConfig(steps=108, learning_rate=2.0, warmup_steps=8, final_fraction=0.1)
    assert [learning_rate(config, step) for step in (1, 4, 8)] == [0.25, 1.0, 2.0]
    # A quarter, a half and all of the way down from 2 to 0.2.
    expected = {33: 0.2 + 1.8 * (1 + math.sqrt(0.5)) / 2, 58: 1.1, 108: 0.2}
    for step, rate in expected.items():
        assert learning_rate(config, step) == pytest.approx(rate, rel=1e-12)
    constant = TrainConfig(steps=9, learning_rate=2.0, final_fraction=1.0)
    assert {learning_rate(constant, step) for step in range(1, 10)} == {2.0}
    assert learning_rate(TrainConfig(steps=3, learning_rate=2.0, warmup_steps=3), 3) == 2.0


# Batches.


def test_random_windows_are_pieces_of_the_text_and_their_next_tokens():
    tokens = torch.arange(20, dtype=torch.int32)
    batch_at = random_windows(tokens, batch_size=64, context_length=5)
    inputs, targets = batch_at(1)
    assert inputs.shape == targets.shape == (64, 5)
    assert inputs.dtype == targets.dtype == torch.int64
    assert torch.equal(targets, inputs + 1)
    assert torch.equal(inputs[:, 1:], inputs[:, :-1] + 1)
    starts = torch.cat([batch_at(step)[0][:, 0] for step in range(1, 9)])
    assert starts.unique().tolist() == list(range(15))  # the last window ends with the text


def test_random_windows_depend_on_seed_and_step_alone():
    def firsts(seed, step):
        torch.rand(3)
        tokens = torch.arange(10_000)
        return random_windows(tokens, 8, 4, seed=seed)(step)[0][:, 0].tolist()

    assert firsts(3, 7) == firsts(3, 7)
    pairs = [(0, 1), (0, 2), (1, 1), (1, 2), (2**32, 1)]
    assert len({tuple(firsts(*pair)) for pair in pairs}) == len(pairs)


@pytest.mark.parametrize(("n_tokens", "sizes"), [(21, [2, 2]), (22, [2, 2]), (26, [2, 2, 1])])
def test_held_out_windows_predict_each_token_once(n_tokens, sizes):
    batches = held_out_windows(torch.arange(n_tokens), batch_size=2, context_length=5)
    assert [len(inputs) for inputs, _ in batches] == sizes
    targets = torch.cat([targets.flatten() for _, targets in batches])
    assert targets.tolist() == list(range(1, 1 + 5 * sum(sizes)))
    assert all(torch.equal(targets, inputs + 1) for inputs, targets in batches)


@pytest.mark.parametrize("windows", [random_windows, held_out_windows])
@pytest.mark.parametrize(
    ("n_tokens", "sizes", "name"),
    [(5, (1, 5), "tokens"), (9, (0, 5), "batch_size"), (9, (1, 0), "context_length")],
)
def test_windows_that_cannot_be_cut_are_refused(windows, n_tokens, sizes, name):
    with pytest.raises(ValueError, match=f"{name} must be"):
        windows(torch.arange(n_tokens), *sizes)
    assert windows(torch.arange(6), 1, 5)


def test_a_negative_seed_is_refused():
    with pytest.raises(ValueError, match="seed must not be negative, got -1"):
        random_windows(TOKENS, 4, 8, seed=-1)


# The optimizer.


def test_only_matrices_decay():
    """Without a gradient, all that AdamW does is to decay."""
    model = gpt(positions="learned")
    before = {name: tensor.clone() for name, tensor in model.named_parameters()}
    config = TrainConfig(steps=1, learning_rate=0.1, weight_decay=0.5)

    def nothing(model, *batch):
        return 0 * sum(parameter.sum() for parameter in model.parameters())

    list(train(model, BATCH_AT, config, loss=nothing))
    rate = learning_rate(config, 1)
    kinds = set()
    for name, after in model.named_parameters():
        matrix = not name.endswith("bias") and "norm" not in name
        expected = before[name] * (1 - rate * 0.5 if matrix else 1)
        torch.testing.assert_close(after, expected, msg=name)
        kinds.add((matrix, after.ndim))
    assert kinds == {(True, 2), (False, 1)}


def test_frozen_parameters_stay_and_a_model_without_others_is_refused():
    model = gpt()
    model.tokens.requires_grad_(False)
    before = model.tokens.weight.clone()
    list(train(model, BATCH_AT, CONFIG))
    assert torch.equal(model.tokens.weight, before)
    model.requires_grad_(False)
    with pytest.raises(ValueError, match="model must have parameters that require gradients"):
        list(train(model, BATCH_AT, CONFIG))


# The loop.


@pytest.mark.parametrize("clip", [0.5, math.inf])
def test_the_loop_equals_the_textbook(clip):
    """AdamW (Loshchilov and Hutter, 2019, algorithm 2) written out, in float64."""
    config = dataclasses.replace(CONFIG, clip=clip, weight_decay=0.2)
    model, plain = gpt().double(), gpt().double()
    records = list(train(model, BATCH_AT, config))

    parameters = list(plain.parameters())
    first = [torch.zeros_like(p) for p in parameters]
    second = [torch.zeros_like(p) for p in parameters]
    for step, record in enumerate(records, start=1):
        inputs, targets = BATCH_AT(step)
        loss = -plain(inputs).log_softmax(-1).gather(-1, targets[..., None]).mean()
        gradients = torch.autograd.grad(loss, parameters)
        norm = math.sqrt(sum(g.square().sum().item() for g in gradients))
        scale = min(1.0, clip / (norm + 1e-6))  # PyTorch's guard against a norm of zero
        rate = learning_rate(config, step)
        assert record == {
            "step": step,
            "loss": pytest.approx(loss.item(), rel=1e-9),
            "gradient_norm": pytest.approx(norm, rel=1e-9),
            "learning_rate": rate,
        }
        with torch.no_grad():
            for p, g, m, v in zip(parameters, gradients, first, second, strict=True):
                m.lerp_(scale * g, 1 - 0.9)
                v.lerp_((scale * g).square(), 1 - 0.95)
                if p.ndim >= 2:
                    p -= rate * 0.2 * p
                p -= rate * (m / (1 - 0.9**step)) / ((v / (1 - 0.95**step)).sqrt() + 1e-8)
    for p, q in zip(model.parameters(), parameters, strict=True):
        torch.testing.assert_close(p, q, rtol=1e-9, atol=1e-12)
    assert max(record["gradient_norm"] for record in records) > 0.5  # 0.5 does clip


def test_a_text_without_surprises_is_learned():
    tokens = torch.arange(400) % 7
    config = TrainConfig(steps=60, learning_rate=1e-2, warmup_steps=5)
    held_out = held_out_windows(tokens, batch_size=8, context_length=8)
    model = gpt()
    before = evaluate(model, held_out)
    *_, last = train(model, random_windows(tokens, 8, 8), config, validation=held_out)
    assert before > 2
    assert last["validation_loss"] < 0.05
    assert evaluate(model, held_out) == last["validation_loss"]


def test_records_come_at_the_steps_asked_for():
    config = TrainConfig(steps=11, log_every=4, eval_every=6)
    records = list(train(gpt(), BATCH_AT, config, validation=HELD_OUT))
    evaluated = {record["step"]: "validation_loss" in record for record in records}
    assert evaluated == {4: False, 6: True, 8: False, 11: True}
    assert all(type(value) in (int, float) for record in records for value in record.values())
    every = list(train(gpt(), BATCH_AT, TrainConfig(steps=11)))
    assert [record["step"] for record in every] == list(range(1, 12))
    by_step = {record["step"]: record["loss"] for record in every}
    assert all(record["loss"] == by_step[record["step"]] for record in records)


def test_between_records_the_model_is_free_to_be_looked_at():
    """Evaluation mode and random numbers do not carry over into training, nor the reverse."""
    undisturbed, model = with_dropout(), with_dropout()
    expected = list(train(undisturbed, BATCH_AT, CONFIG))
    torch.manual_seed(5)
    numbers = [torch.rand(1).item() for _ in range(7)]
    torch.manual_seed(5)
    drawn, records = [torch.rand(1).item()], []
    for record in train(model, BATCH_AT, CONFIG):
        drawn.append(torch.rand(1).item())
        assert model.training
        model.eval()
        assert all(parameter.grad is not None for parameter in model.parameters())
        records.append(record)
    assert records == expected
    assert drawn == numbers
    assert same(model, undisturbed)
    other_dropout = list(train(with_dropout(), BATCH_AT, dataclasses.replace(CONFIG, seed=1)))
    assert losses(other_dropout) != losses(expected)


def test_own_batches_and_loss():
    """A masked language model whose masks come from PyTorch's generator, and a second term."""
    held_out = HELD_OUT[0][0]

    def masked(step):
        inputs = BATCH_AT(step)[0]
        hidden = torch.rand(inputs.shape) < 0.3
        return inputs.masked_fill(hidden, 0), inputs.masked_fill(~hidden, -100), torch.ones(4, 1)

    def loss(model, inputs, targets, weight):
        logits = model(inputs)
        seen.append((inputs, targets))
        by_hand = F.cross_entropy(logits[targets != -100], targets[targets != -100])
        torch.testing.assert_close(next_token_loss(model, inputs, targets), by_hand)
        return by_hand + (weight * logits.square().mean(dim=(1, 2))).mean()

    seen = []
    first = list(train(gpt(causal=False), masked, CONFIG, loss=loss))
    again = []
    for record in train(gpt(causal=False), masked, CONFIG, loss=loss):
        torch.rand(5)
        again.append(record)
    assert first == again
    assert not torch.equal(seen[0][1], seen[1][1])
    batch = (held_out, held_out, torch.zeros(len(held_out), 1))
    assert evaluate(gpt(), [batch], loss=loss) == pytest.approx(
        evaluate(gpt(), [(held_out, held_out)]), rel=1e-6
    )


def test_evaluation_is_the_mean_over_examples_without_dropout():
    model = with_dropout()
    assert [len(inputs) for inputs, _ in HELD_OUT] == [5, 5, 2]
    value = evaluate(model, HELD_OUT)
    assert model.training
    assert all(parameter.grad is None for parameter in model.parameters())
    model.eval()
    inputs, targets = (torch.cat(parts) for parts in zip(*HELD_OUT, strict=True))
    expected = F.cross_entropy(model(inputs).flatten(0, 1), targets.flatten())
    assert value == pytest.approx(expected.item(), rel=1e-6)
    evaluate(model, HELD_OUT)
    assert not model.training
    with pytest.raises(ValueError, match="batches must hold at least one batch"):
        evaluate(model, [])


def test_the_progress_bar_leaves_no_trace(capsys, monkeypatch):
    list(train(gpt(), BATCH_AT, CONFIG))
    shown = capsys.readouterr()
    assert not shown.out
    assert not shown.err.rpartition("\r")[0] or not shown.err.rpartition("\r")[2]


# Checkpoints.

LONG = TrainConfig(steps=400, warmup_steps=2, eval_every=5, checkpoint_every=3)


def long_run(checkpoint):
    return train(with_dropout(), BATCH_AT, LONG, validation=HELD_OUT, checkpoint=checkpoint)


def print_long_run(checkpoint):
    for record in long_run(checkpoint):
        print(json.dumps(record), flush=True)


def test_a_killed_run_goes_on_to_the_same_bits(tmp_path):
    whole, killed = tmp_path / "whole.pt", tmp_path / "killed.pt"
    process = subprocess.Popen(
        in_a_process(print_long_run, killed), stdout=subprocess.PIPE, env=ENVIRONMENT
    )
    seen = list(itertools.islice(process.stdout, 20))
    process.kill()
    seen += [line for line in process.stdout if line.endswith(b"}\n")]
    process.stdout.close()
    assert process.wait() == -signal.SIGKILL
    seen = [json.loads(line) for line in seen]

    reached = torch.load(killed, weights_only=True)["step"]
    assert 18 <= reached < 400
    rest = list(long_run(killed))
    expected = list(long_run(whole))
    assert len(expected) == 400
    assert expected[reached:] == rest
    assert expected[: len(seen)] == seen
    one, other = (torch.load(path, weights_only=True) for path in (whole, killed))
    assert one["step"] == other["step"] == 400
    compared = 0
    for here, there in [
        (one["model"], other["model"]),
        *zip(*(saved["optimizer"]["state"].values() for saved in (one, other)), strict=True),
    ]:
        for name, tensor in here.items():
            assert torch.equal(tensor, there[name])
            compared += 1
    assert compared == 3 + 3 * 3  # weights; first and second moments and steps


def test_a_finished_run_has_nothing_left_to_do(tmp_path):
    path = tmp_path / "new folder" / "checkpoint.pt"
    model, again = gpt(), gpt(seed=1)
    assert len(list(train(model, BATCH_AT, CONFIG, checkpoint=path))) == 6
    assert list(train(again, BATCH_AT, CONFIG, checkpoint=str(path))) == []
    assert same(model, again)
    assert os.listdir(path.parent) == ["checkpoint.pt"]


def test_an_interrupted_save_leaves_the_last_checkpoint(tmp_path, monkeypatch):
    path = tmp_path / "checkpoint.pt"
    config = dataclasses.replace(CONFIG, checkpoint_every=2)
    save = torch.save

    def full_disk(content, file):
        if content["step"] < 4:
            return save(content, file)
        file.write_bytes(b"the first half")
        raise OSError("no space left")

    monkeypatch.setattr(torch, "save", full_disk)
    with pytest.raises(OSError, match="no space left"):
        list(train(gpt(), BATCH_AT, config, checkpoint=path))
    monkeypatch.undo()
    model, whole = gpt(seed=1), gpt()
    assert next(train(model, BATCH_AT, config, checkpoint=path))["step"] == 3
    list(train(whole, BATCH_AT, config))
    list(train(model, BATCH_AT, config, checkpoint=path))
    assert same(model, whole)


@pytest.mark.parametrize(
    ("model", "config", "message"),
    [
        (gpt, dataclasses.replace(CONFIG, steps=7), "steps was 6 and is 7"),
        (
            gpt,
            dataclasses.replace(CONFIG, clip=2.0, betas=(0.9, 0.99)),
            r"betas was \(0.9, 0.95\) and is \(0.9, 0.99\); clip was 1.0 and is 2.0",
        ),
        (lambda: gpt(n_heads=4), CONFIG, "model was GPTConfig.*n_heads=2.* is .*n_heads=4"),
        (lambda: gpt(bias=False), CONFIG, r"qkv.bias was \(48,\) and is None"),
        (with_dropout, CONFIG, "model was GPTConfig.* is Sequential"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused(tmp_path, model, config, message):
    path = tmp_path / "checkpoint.pt"
    list(train(gpt(), BATCH_AT, CONFIG, checkpoint=path))
    before = path.read_bytes()
    with pytest.raises(ValueError, match=f"checkpoint .* is of another run: .*{message}"):
        list(train(model(), BATCH_AT, config, checkpoint=path))
    assert path.read_bytes() == before


@pytest.mark.parametrize("kind", ["text", "empty", "a list", "weights"])
def test_a_file_that_is_no_checkpoint_is_refused(tmp_path, kind):
    path = tmp_path / "checkpoint.pt"
    if kind in ("text", "empty"):
        path.write_text("weights" if kind == "text" else "")
    else:
        torch.save([1.0] if kind == "a list" else gpt().state_dict(), path)
    with pytest.raises(ValueError, match="checkpoint must be a file that train wrote, got "):
        list(train(gpt(), BATCH_AT, CONFIG, checkpoint=path))


# Several processes, other precisions, the compiler, other devices.


def draws(model):
    """Return the random numbers that batches got to see, and those in the losses of this rank."""
    for_batches, for_losses = [], []

    def batch_at(step):
        for_batches.append(torch.rand(1).item())
        return BATCH_AT(step)

    def loss(model, *batch):
        for_losses.append(torch.rand(1).item())
        return next_token_loss(model, *batch)

    list(train(model, batch_at, CONFIG, loss=loss))
    return for_batches, for_losses


def write_shared_run(folder):
    """Train on this process's part and write what came out; weights are those of rank 0."""
    folder, rank = Path(folder), int(os.environ.get("RANK", 0))
    model = gpt(seed=rank)
    config = dataclasses.replace(CONFIG, steps=25, eval_every=10)
    records = train(*(model, BATCH_AT, config), validation=HELD_OUT, checkpoint=folder / "model.pt")
    result = {"records": list(records), "evaluated": evaluate(model, HELD_OUT)}
    result["weights"] = [parameter.flatten().tolist() for parameter in model.parameters()]
    result["drawn"] = draws(model)
    try:
        list(train(model, random_windows(TOKENS, 3, 8), config))
    except ValueError as error:
        result["error"] = str(error)
    (folder / f"{rank}.json").write_text(json.dumps(result))


def test_two_processes_give_the_curve_of_one(tmp_path):
    alone, shared = tmp_path / "alone", tmp_path / "shared"
    alone.mkdir()
    shared.mkdir()
    write_shared_run(alone)
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    succeed(in_a_process(write_shared_run, shared, launcher=torchrun))

    one = json.loads((alone / "0.json").read_text())
    first, second = (json.loads((shared / f"{rank}.json").read_text()) for rank in range(2))
    message = "batch_at must give a multiple of 2 examples, got 3"
    assert (first.pop("error"), second.pop("error")) == (message, message)
    drawn = [result.pop("drawn") for result in (one, first, second)]
    assert drawn[0] == drawn[1]
    assert drawn[1][0] == drawn[2][0]  # the batch is the same,
    assert not {*drawn[1][1]} & {*drawn[2][1]}  # dropout is not
    assert first == second
    assert first != one  # rounded in another order
    assert "error" not in one
    for single, both in zip(one["records"], first["records"], strict=True):
        assert both == pytest.approx(single, rel=2e-5)
    assert sum("validation_loss" in record for record in one["records"]) == 3
    assert first["evaluated"] == first["records"][-1]["validation_loss"]
    for single, both in zip(one["weights"], first["weights"], strict=True):
        assert both == pytest.approx(single, rel=1e-3, abs=1e-5)
    saved = torch.load(shared / "model.pt", weights_only=True)["model"]
    assert [tensor.flatten().tolist() for tensor in saved.values()] == first["weights"]


def test_bfloat16_computes_in_it_and_keeps_the_weights_in_float32():
    dtypes = set()

    def loss(model, inputs, targets):
        logits = model(inputs)
        dtypes.add((torch.is_grad_enabled(), logits.dtype))
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten())

    def run(precision):
        dtypes.clear()
        model = gpt()
        config = dataclasses.replace(CONFIG, precision=precision)
        curve = losses(train(model, BATCH_AT, config, loss=loss, validation=HELD_OUT))
        assert {p.dtype for p in model.parameters()} == {torch.float32}
        assert {p.grad.dtype for p in model.parameters()} == {torch.float32}
        return curve, set(dtypes)

    exact, used = run("float32")
    assert used == {(True, torch.float32), (False, torch.float32)}
    assert run("auto") == (exact, used)
    rough, used = run("bfloat16")
    assert used == {(True, torch.bfloat16), (False, torch.bfloat16)}
    assert rough != exact
    assert rough == pytest.approx(exact, rel=0.01)


def check_compiled():
    from torch._dynamo.utils import counters

    curves = []
    for compiled in (False, True):
        config = dataclasses.replace(CONFIG, compile=compiled)
        records = train(with_dropout(p=0.0), BATCH_AT, config, validation=HELD_OUT[:2])
        curves.append([list(record.values()) for record in records])
    assert counters["stats"]["unique_graphs"] == 2, counters  # training and evaluation
    assert not counters["graph_break"], counters
    for one, other in zip(*curves, strict=True):
        assert other == pytest.approx(one, rel=1e-4)


@pytest.mark.skipif(shutil.which("c++") is None, reason="torch.compile needs a C++ compiler")
def test_compiled_or_not_the_curve_is_the_same():
    """In a process of its own: the compiler is not to meet the tests' checks of shapes."""
    succeed(in_a_process(check_compiled))


@pytest.mark.parametrize(
    "device",
    [
        pytest.param(
            "cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
        ),
        pytest.param(
            "mps",
            marks=pytest.mark.skipif(not torch.backends.mps.is_available(), reason="no MPS device"),
        ),
    ],
)
def test_other_devices_give_the_curve_of_the_processor(device):
    config = dataclasses.replace(CONFIG, precision="float32")
    expected = list(train(gpt(), BATCH_AT, config, validation=HELD_OUT))
    records = list(train(gpt().to(device), BATCH_AT, config, validation=HELD_OUT))
    for record, other in zip(records, expected, strict=True):
        assert record == pytest.approx(other, rel=1e-3)


def test_a_device_is_picked(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert pick_device() == torch.device("cuda", 0)
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert pick_device() == torch.device("cuda", 3)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert pick_device() == torch.device("mps")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert pick_device() == torch.device("cpu")


# The benchmark, on shapes that take no time.


@pytest.fixture(scope="module")
def benchmark():
    path = Path(__file__).parent.parent / "benchmarks" / "training.py"
    spec = importlib.util.spec_from_file_location("training_benchmark", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_benchmark_compares_models_of_one_size(benchmark, capsys):
    benchmark.compare(layers=1, width=16, context=4, steps=1)
    lines = capsys.readouterr().out.splitlines()
    rates, ratios = {}, {}
    for line in lines:
        if row := re.fullmatch(r"(.+?) {2,}([\d,]+)  ([\d.]+) \(([\d.]+) to ([\d.]+)\)", line):
            rates[row[1]] = int(row[2].replace(",", ""))
            ratios[row[1]] = [float(row[i]) for i in (4, 3, 5)]
    assert list(rates) == ["llmbook.gpt", "GPT2LMHeadModel", "the same, one-kernel GELU"]
    assert min(rates.values()) > 0
    assert ratios["llmbook.gpt"] == [1, 1, 1]
    assert all(row == sorted(row) for row in ratios.values())


def test_the_benchmark_models_are_one_function(benchmark):
    shape = benchmark.gpt2_shape(layers=2, width=16, heads=2, context=8, vocabulary=11)
    theirs, mine = benchmark.hugging_face(shape, "gelu_new"), benchmark.ours(shape)
    mine.load_state_dict(from_huggingface(theirs).state_dict())
    other = benchmark.hugging_face(shape, "gelu_pytorch_tanh")
    other.load_state_dict(theirs.state_dict())
    expected = benchmark.loss(theirs.train(), *BATCH_AT(1))
    for model in (mine, other):
        torch.testing.assert_close(benchmark.loss(model.train(), *BATCH_AT(1)), expected)


@pytest.mark.parametrize("context", [4, 8])
def test_the_benchmark_counts_the_operations_of_a_step(benchmark, capsys, monkeypatch, context):
    """One layer of width 64 and a vocabulary of 50, at a second a step."""
    ticks = iter(range(0, 100, 3))
    monkeypatch.setattr(benchmark.time, "perf_counter", lambda: next(ticks) * 1.0)
    shape = benchmark.gpt2_shape(layers=1, width=64, heads=1, context=context, vocabulary=50)
    # Twelve matrices of width², the head, and twice the scores, a multiply-add each; three passes.
    weights = 12 * 64**2 + 64 * 50
    every = 2 * 3 * 2 * context * (weights + 2 * context * 64)
    allowed = 2 * 3 * 2 * context * (weights + (context + 1) * 64)
    benchmark.utilization(shape, batch=2, steps=3, device="cpu", peak=2.0 * every, compiled=False)
    out = capsys.readouterr().out
    assert "1,000.0 ms a step" in out
    assert f"{2 * context} tokens/s" in out
    assert re.findall(r"([\d.]+)% of the peak", out) == ["50.0", f"{50 * allowed / every:.1f}"]


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
