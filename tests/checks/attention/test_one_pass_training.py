import math

import pytest
import torch
import torch.nn.functional as F

from llmbook import check

# --- Right answers --------------------------------------------------------------------------------


def by_cross_entropy(model, tokens):
    return F.cross_entropy(model(tokens)[:, :-1].mT, tokens[:, 1:], reduction="none")


def by_gather_without_last_input(model, tokens):
    log_p = model(tokens[:, :-1]).log_softmax(-1)
    return -log_p.gather(2, tokens[:, 1:].unsqueeze(2)).squeeze(2)


def by_flattening(model, tokens):
    logits = model(tokens)[:, :-1]
    flat = F.cross_entropy(
        logits.reshape(-1, logits.shape[-1]), tokens[:, 1:].reshape(-1), reduction="none"
    )
    return flat.view(len(tokens), -1)


def by_loops(model, tokens):
    logits = model(tokens)
    rows = []
    for b in range(len(tokens)):
        row = [
            torch.logsumexp(logits[b, t], 0) - logits[b, t, tokens[b, t + 1]]
            for t in range(tokens.shape[1] - 1)
        ]
        rows.append(torch.stack(row))
    return torch.stack(rows)


@pytest.mark.parametrize(
    "all_losses", [by_cross_entropy, by_gather_without_last_input, by_flattening, by_loops]
)
def test_right_losses_pass(all_losses):
    result = check.one_pass_training(all_losses=all_losses)
    assert not result.messages
    assert {o.status for o in result.outcomes if o.name.startswith("all_losses")} == {"passed"}


def changing_each_position(model, tokens):
    before = model(tokens)
    for s in range(1, tokens.shape[1]):
        changed = tokens.clone()
        changed[:, s] = (changed[:, s] + 1) % before.shape[-1]
        if (model(changed)[:, :s] - before[:, :s]).abs().max() > 1e-5:
            return False
    return True


def comparing_prefixes(model, tokens):
    full = model(tokens)
    return all(
        torch.allclose(model(tokens[:, :t]), full[:, :t], atol=1e-5)
        for t in range(1, tokens.shape[1])
    )


def changing_the_whole_suffix(model, tokens):
    before = model(tokens).detach().numpy()
    for s in range(1, tokens.shape[1]):
        changed = tokens.clone()
        changed[:, s:] = torch.randint(before.shape[-1], changed[:, s:].shape)
        if abs(model(changed).detach().numpy()[:, :s] - before[:, :s]).max() > 1e-5:
            return torch.tensor(False)
    return torch.tensor(True)


@pytest.mark.parametrize(
    "is_causal", [changing_each_position, comparing_prefixes, changing_the_whole_suffix]
)
def test_right_testers_pass(is_causal):
    result = check.one_pass_training(is_causal=is_causal)
    assert not result.messages
    assert "right so far" in result.headline


def test_both_parts_together_pass():
    result = check.one_pass_training(by_cross_entropy, changing_each_position)
    assert result.passed


# --- Mistakes, caught and named -------------------------------------------------------------------


def picked(log_p, targets):
    return -log_p.gather(2, targets[:, :, None])[..., 0]


MISTAKES = {
    "same token, last row dropped": (
        lambda m, x: picked(m(x)[:, :-1].log_softmax(-1), x[:, :-1]),
        "which it has already read",
    ),
    "same token, first row dropped": (
        lambda m, x: picked(m(x)[:, 1:].log_softmax(-1), x[:, 1:]),
        "which it has already read",
    ),
    "same token, all rows": (
        lambda m, x: picked(m(x).log_softmax(-1), x),
        "one too many",
    ),
    "previous token": (
        lambda m, x: picked(m(x)[:, 1:].log_softmax(-1), x[:, :-1]),
        "shift goes the wrong way",
    ),
    "last position wraps around": (
        lambda m, x: picked(m(x).log_softmax(-1), x.roll(-1, 1)),
        "last position has no next token",
    ),
    "last position scored on padding": (
        lambda m, x: picked(m(x).log_softmax(-1), F.pad(x[:, 1:], (0, 1))),
        "last position has no next token",
    ),
    "mean": (
        lambda m, x: F.cross_entropy(m(x)[:, :-1].mT, x[:, 1:]),
        "mean over all positions",
    ),
    "mean of rows": (lambda m, x: by_cross_entropy(m, x).mean(1), "mean of each row"),
    "mean over rows": (lambda m, x: by_cross_entropy(m, x).mean(0), "mean over the rows"),
    "sum of rows": (lambda m, x: by_cross_entropy(m, x).sum(1), "sum of each row"),
    "sum over rows": (lambda m, x: by_cross_entropy(m, x).sum(0), "sum over the rows"),
    "sum": (lambda m, x: by_cross_entropy(m, x).sum(), "sum of the losses"),
    "flat": (lambda m, x: by_cross_entropy(m, x).flatten(), "put them in shape"),
    "transposed losses": (lambda m, x: by_cross_entropy(m, x).T, "instead of (B, T - 1)"),
    "softmax twice": (
        lambda m, x: F.cross_entropy(m(x)[:, :-1].softmax(-1).mT, x[:, 1:], reduction="none"),
        "softmax is applied twice",
    ),
    "reshaped logits": (
        lambda m, x: F.cross_entropy(
            m(x)[:, :-1].reshape(len(x), -1, x.shape[1] - 1), x[:, 1:], reduction="none"
        ),
        "have to be transposed",
    ),
    "softmax over time": (
        lambda m, x: picked(m(x)[:, :-1].log_softmax(1), x[:, 1:]),
        "softmax runs over the positions",
    ),
    "softmax over time, then cut": (
        lambda m, x: picked(m(x).log_softmax(1)[:, :-1], x[:, 1:]),
        "softmax runs over the positions",
    ),
    "sign": (lambda m, x: -by_cross_entropy(m, x), "negative of one"),
    "probabilities": (lambda m, x: (-by_cross_entropy(m, x)).exp(), "negative logarithm"),
    "no softmax": (
        lambda m, x: F.nll_loss(m(x)[:, :-1].mT, x[:, 1:], reduction="none"),
        "log-softmax is missing",
    ),
    "bits": (lambda m, x: by_cross_entropy(m, x) / math.log(2), "the losses in nats"),
}


@pytest.mark.parametrize(("wrong", "message"), MISTAKES.values(), ids=MISTAKES)
def test_wrong_losses_are_named(wrong, message):
    result = check.one_pass_training(all_losses=wrong)
    assert message in result.messages
    first = next(o for o in result.outcomes if o.status == "failed")
    assert message in first.message  # on the smallest input already


@pytest.mark.parametrize(
    "wrong", [lambda m, x: by_cross_entropy(m, x).flatten(), lambda m, x: by_cross_entropy(m, x)[0]]
)
def test_one_row_or_one_column_is_not_blamed_on_a_mean(wrong):
    result = check.one_pass_training(all_losses=wrong)
    messages = {o.name: o.message for o in result.outcomes}
    assert "You return the" not in result.messages
    assert "shape is (5,); it should be (1, 5)" in messages["all_losses: a single text"]


def test_a_call_per_prefix_is_named():
    def prefix_by_prefix(model, tokens):
        columns = [
            F.cross_entropy(model(tokens[:, :t])[:, -1], tokens[:, t], reduction="none")
            for t in range(1, tokens.shape[1])
        ]
        return torch.stack(columns, 1)

    result = check.one_pass_training(all_losses=prefix_by_prefix)
    assert result.messages.count("called 5 times") == 1
    assert sum(o.status == "failed" for o in result.outcomes) == 1


def test_a_model_that_is_never_called_is_named():
    result = check.one_pass_training(
        all_losses=lambda model, tokens: torch.ones(len(tokens), tokens.shape[1] - 1)
    )
    assert "never called" in result.messages


@pytest.mark.parametrize("cut", [torch.Tensor.detach, lambda x: x.detach().numpy()])
def test_losses_without_gradient_are_named(cut):
    result = check.one_pass_training(all_losses=lambda m, x: cut(by_cross_entropy(m, x)))
    assert "No gradient flows" in result.messages
    assert sum(o.status == "failed" for o in result.outcomes) == 1


def failed_tests(is_causal):
    result = check.one_pass_training(is_causal=is_causal)
    return {o.name.split("is_causal: ")[1]: o.message for o in result.outcomes if o.message}


def changing(positions=None, compare=lambda s: slice(0, s), atol=1e-5):
    def is_causal(model, tokens):
        before = model(tokens)
        for s in positions or range(1, tokens.shape[1]):
            changed = tokens.clone()
            changed[:, s] = (changed[:, s] + 1) % before.shape[-1]
            rows = compare(s)
            if (model(changed)[:, rows] - before[:, rows]).abs().max() > atol:
                return False
        return True

    return is_causal


def test_changing_only_the_last_token_misses_the_prefix():
    failed = failed_tests(changing(positions=[7]))
    assert (
        "change each position in turn"
        in failed["finds the leak: a prefix without mask, causal after it"]
    )
    assert "finds the leak: no mask" not in failed
    assert "finds the leak: only the first position sees the last" not in failed


def test_looking_at_the_neighbor_only_is_named():
    failed = failed_tests(changing(compare=lambda s: slice(s - 1, s)))
    assert (
        "need not come from the neighbor"
        in failed["finds the leak: position t sees position t + 2 only"]
    )


def test_skipping_the_last_token_is_named():
    failed = failed_tests(changing(positions=range(1, 7)))
    assert list(failed) == ["finds the leak: only the first position sees the last"]
    assert "Change the last token too" in failed.popitem()[1]


def test_comparing_the_changed_position_itself_is_named():
    failed = failed_tests(changing(compare=lambda s: slice(0, s + 1)))
    assert "leave these out of the comparison" in failed["finds causal models causal"]


def test_exact_comparison_is_named():
    failed = failed_tests(changing(atol=0))
    assert list(failed) == ["takes rounding for rounding"]
    assert "not exactly" in failed.popitem()[1]


@pytest.mark.parametrize("atol", [1e-4, 1e-3, 1e-2])
def test_a_wide_tolerance_is_named(atol):
    failed = failed_tests(changing(atol=atol))
    assert list(failed) == ["finds the leak: a weak leak"]
    assert "is your tolerance wider" in failed.popitem()[1]


def test_a_wide_tolerance_between_prefixes_is_named():
    def is_causal(model, tokens):
        full = model(tokens)
        return all(
            torch.allclose(model(tokens[:, :t]), full[:, :t], rtol=0, atol=1e-4)
            for t in range(1, tokens.shape[1])
        )

    assert "is your tolerance wider" in failed_tests(is_causal)["finds the leak: a weak leak"]


@pytest.mark.parametrize(("sign", "missed"), [(1, "lowers"), (-1, "raises")])
def test_a_forgotten_absolute_value_is_named(sign, missed):
    def is_causal(model, tokens):
        before = model(tokens)
        for s in range(1, tokens.shape[1]):
            changed = tokens.clone()
            changed[:, s] = (changed[:, s] + 1) % before.shape[-1]
            if (sign * (model(changed) - before)[:, :s]).max() > 1e-5:
                return False
        return True

    failed = failed_tests(is_causal)
    assert list(failed) == [f"finds the leak: every change {missed} the logits"]
    assert "absolute value" in failed.popitem()[1]


@pytest.mark.parametrize("token", [0, 6])
def test_always_writing_the_same_token_is_named(token):
    def is_causal(model, tokens):
        before = model(tokens)
        for s in range(1, tokens.shape[1]):
            changed = tokens.clone()
            changed[:, s] = token
            if (model(changed)[:, :s] - before[:, :s]).abs().max() > 1e-5:
                return False
        return True

    failed = failed_tests(is_causal)
    assert list(failed) == [f"finds the leak: in a text of token {token} only"]
    assert "another token, whatever stood there before" in failed.popitem()[1]


def overwriting(order):
    def is_causal(model, tokens):
        before = model(tokens)
        for s in order:
            tokens[:, s] = (tokens[:, s] + 1) % before.shape[-1]
            if (model(tokens)[:, :s] - before[:, :s]).abs().max() > 1e-5:
                return False
        return True

    return is_causal


def test_a_forgotten_clone_is_named():
    failed = failed_tests(overwriting(range(1, 8)))
    assert "`clone` it" in failed["finds causal models causal"]
    notes = check.one_pass_training(is_causal=overwriting(range(1, 8))).notes
    assert not any("does not depend on it" in note for note in notes)


def test_overwriting_the_text_without_harm_passes_with_a_note():
    result = check.one_pass_training(is_causal=overwriting(range(7, 0, -1)))
    assert not result.messages
    assert ["changes `tokens` itself" in note for note in result.notes] == [True]


def test_changing_only_the_first_token_finds_nothing():
    failed = failed_tests(changing(positions=[0]))
    assert sum(name.startswith("finds the leak") for name in failed) == 11


def test_a_tester_that_never_calls_the_model_is_caught():
    failed = failed_tests(lambda model, tokens: True)
    assert "called with changed tokens at all" in failed["finds the leak: no mask"]
    failed = failed_tests(lambda model, tokens: False)
    assert "A causal model is called leaky" in failed["finds causal models causal"]


# --- The rest -------------------------------------------------------------------------------------


def test_untouched_is_not_attempted():
    def placeholder(model, tokens): ...

    for answer in (None, ..., placeholder):
        assert check.one_pass_training(answer, answer).status == "not attempted"
    assert check.one_pass_training().status == "not attempted"


@pytest.mark.parametrize(
    "rubbish", [3, "text", lambda m, x: "text", lambda m, x: object(), lambda: 1, lambda m, x: {}]
)
def test_rubbish_fails_and_does_not_raise(rubbish):
    result = check.one_pass_training(rubbish, rubbish)
    assert {o.status for o in result.outcomes} == {"failed"}
    assert "check itself broke" not in result.messages


def test_no_message_gives_the_losses_away():
    wrong = check.one_pass_training(all_losses=lambda m, x: by_cross_entropy(m, x) + 1)
    captured = []
    check.one_pass_training(all_losses=lambda m, x: captured.append(by_cross_entropy(m, x)))
    for value in captured[0].flatten().tolist():
        assert f"{value:.3f}" not in wrong.messages
