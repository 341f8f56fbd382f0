import io
from dataclasses import replace

import pytest
import torch
from torch import nn

from hwn2n.distil.datasets import load_data
from hwn2n.distil.images import ImageSet
from hwn2n.distil.losses import CrossEntropy, CrossEntropyAndL2, LogitL2, Loss
from hwn2n.distil.recipes import TrainSettings, default_recipe
from hwn2n.distil.state import TrainState
from hwn2n.distil.train import DivergedError, accuracy, predict_logits, train
from hwn2n.errors import InputError
from hwn2n.network.teachers import build_teacher

NORMAL = {"mean": (0.5,), "std": (0.25,)}
# everything that has a state: augmentation, dropout, batch norm, momentum, schedule, best epoch
SETTINGS = TrainSettings(
    epochs=4,
    batch_size=16,
    lr=0.05,
    weight_decay=1e-4,
    schedule="onecycle",
    warmup=0.3,
    augment="crop-flip",
    precision="fp32",
    keep_best=True,
)


def network(seed=0, classes=2):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1, bias=False),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.Dropout(0.3),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
            nn.Linear(16, classes),
        )


def stripes(n, seed=0):
    """Horizontal against vertical stripes of two pixels, with noise."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % 2
    across = ((torch.arange(8) // 2) % 2 * 120).expand(8, 8)
    images = torch.where(labels[:, None, None] == 0, across, across.T)
    noise = torch.randint(0, 100, (n, 8, 8), generator=generator)
    return ImageSet((images + noise).to(torch.uint8)[:, None], labels, 2)


TRAIN, VALIDATION = stripes(65), stripes(40, seed=1)


def weights(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def same(one, two):
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def run(settings=SETTINGS, loss=None, model=None, **options):
    model = model or network()
    options = {"validation": VALIDATION, **NORMAL, **options}
    result = train(model, TRAIN, loss or CrossEntropy(), settings, **options)
    return weights(model), result


class StoppedError(Exception):
    pass


def stopped_after(epochs, settings=SETTINGS, **options):
    """The state after so many epochs, as it comes back from a file."""
    kept = []

    def on_epoch(report, state):
        if report.epoch == epochs:
            file = io.BytesIO()
            torch.save(state.to_dict(), file)
            kept.append(file)
            raise StoppedError

    with pytest.raises(StoppedError):
        run(settings, on_epoch=on_epoch, **options)
    kept[0].seek(0)
    return TrainState.from_dict(torch.load(kept[0], weights_only=True))


def unchanging(result):
    return [replace(report, seconds=0.0) for report in result.history]


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("epochs", [1, 2, 4])
def test_resumed_equals_uninterrupted_to_the_last_bit(epochs, optimizer, precision):
    settings = replace(SETTINGS, optimizer=optimizer, precision=precision, lr=0.01)
    whole, whole_result = run(settings)
    state = stopped_after(epochs, settings)
    torch.manual_seed(12345)  # nothing may depend on the global generator
    resumed, result = run(settings, model=network(seed=9), resume_state=state)
    assert same(whole, resumed)
    assert unchanging(whole_result) == unchanging(result)
    assert whole_result.validation == result.validation


def test_a_state_is_a_copy_and_on_epoch_disturbs_nothing():
    whole, _ = run()
    states = []

    def on_epoch(report, state):
        states.append(state)
        torch.manual_seed(0)
        torch.rand(1000)

    disturbed, _ = run(on_epoch=on_epoch)
    assert same(whole, disturbed)
    resumed, _ = run(model=network(seed=3), resume_state=states[1])
    assert same(whole, resumed)
    resumed, _ = run(model=network(seed=3), resume_state=states[1])  # a state can be used twice
    assert same(whole, resumed)


def test_the_seed_decides_and_the_global_generator_is_left_alone():
    before = torch.get_rng_state()
    one, _ = run(seed=1)
    assert torch.equal(before, torch.get_rng_state())
    torch.rand(10)
    assert same(one, run(seed=1)[0])
    assert not same(one, run(seed=2)[0])


def test_it_learns_and_reports():
    reports = []
    settings = replace(SETTINGS, epochs=12, augment="none")
    model = network()
    _, result = run(settings, model=model, on_epoch=lambda report, state: reports.append(report))
    assert result.validation.top1 > 0.9
    assert tuple(reports) == result.history
    assert [report.epoch for report in reports] == list(range(1, 13))
    assert reports[-1].loss < reports[0].loss
    assert result.seconds > 0
    assert not result.stopped_early
    best = max(report.validation.top1 for report in reports)
    first = next(report.epoch for report in reports if report.validation.top1 == best)
    assert result.best_epoch == first
    # the network ends with the weights of that epoch, in eval mode
    assert accuracy(model, VALIDATION, **NORMAL) == result.validation
    assert result.validation.top1 == best
    assert not model.training


def test_without_keep_best_the_last_epoch_stays():
    model = network()
    _, result = run(replace(SETTINGS, keep_best=False), model=model)
    assert accuracy(model, VALIDATION, **NORMAL) == result.history[-1].validation


def test_patience_ends_early():
    settings = replace(SETTINGS, epochs=30, patience=3, lr=1e-9)  # never improves on epoch 1
    _, result = run(settings)
    assert result.stopped_early
    assert len(result.history) == result.best_epoch + 3
    state = stopped_after(len(result.history), settings)
    assert run(settings, resume_state=state)[1].stopped_early


def test_cached_logits_equal_a_teacher_asked_on_the_fly():
    teacher = network(seed=7).train()
    settings = replace(SETTINGS, augment="none", epochs=2)
    logits = predict_logits(teacher, TRAIN, **NORMAL)
    cached, _ = run(settings, LogitL2(), teacher_logits=logits)
    asked, _ = run(settings, LogitL2(), teacher=teacher)
    for name in cached:
        torch.testing.assert_close(cached[name], asked[name])
    assert teacher.training  # its mode is restored, and its statistics are untouched
    assert same(weights(teacher), weights(network(seed=7)))


def test_distillation_moves_the_student_towards_the_teacher():
    teacher = network(seed=7).eval()
    student = network()
    wanted = predict_logits(teacher, VALIDATION, **NORMAL)

    def distance():
        return (predict_logits(student, VALIDATION, **NORMAL) - wanted).square().mean().item()

    before = distance()
    run(replace(SETTINGS, epochs=6), LogitL2(), model=student, teacher=teacher)
    assert distance() < before
    run(replace(SETTINGS, epochs=1), CrossEntropyAndL2(lam=0.5), model=student, teacher=teacher)


def test_max_images_takes_the_same_images_and_logits_for_every_seed():
    seen = []

    class Spy(Loss):
        needs_teacher = True

        def __call__(self, logits, teacher, labels):
            seen.append(set(teacher[:, 0].int().tolist()))
            return logits.sum() * 0

    numbers = torch.arange(65.0)[:, None].expand(65, 2)
    settings = replace(SETTINGS, max_images=20, augment="none", epochs=1)
    for seed in (0, 1):
        run(settings, Spy(), teacher_logits=numbers, seed=seed)
    one, two = seen[0] | seen[1], seen[2] | seen[3]
    assert one == two
    assert len(one) == 20
    assert sum(number % 2 for number in one) == 10  # stratified: labels alternate


def test_a_last_batch_of_one_image_is_left_out():
    sizes = []

    class Spy(CrossEntropy):
        def __call__(self, logits, teacher, labels):
            sizes.append(len(labels))
            return super().__call__(logits, teacher, labels)

    run(replace(SETTINGS, epochs=1), Spy())
    assert sizes == [16, 16, 16, 16]
    sizes.clear()
    run(replace(SETTINGS, epochs=1, batch_size=13), Spy())
    assert sizes == [13] * 5
    sizes.clear()
    run(replace(SETTINGS, epochs=1, batch_size=63), Spy())
    assert sizes == [63, 2]


def test_batch_norm_stays_in_train_mode_after_a_validation():
    model = network()
    run(replace(SETTINGS, keep_best=False), model=model)
    assert model[1].num_batches_tracked.item() == 4 * 4


def test_gradients_are_clipped():
    first = weights(network())["6.weight"]

    def moved(clip):
        settings = TrainSettings(
            epochs=1, batch_size=65, lr=1.0, momentum=0.0, clip_norm=clip, precision="fp32"
        )
        after, _ = run(settings)
        change = [
            after[name] - weights(network())[name] for name, _ in network().named_parameters()
        ]
        return torch.cat([part.flatten() for part in change]).norm().item()

    assert first.shape == (2, 16)
    assert moved(1e-3) == pytest.approx(1e-3, rel=1e-2)
    assert moved(None) > 2e-3


@pytest.mark.parametrize("where", ["loss", "weights", "teacher"])
def test_divergence_is_an_error(where):
    model, options, settings, loss = network(), {}, SETTINGS, CrossEntropy()
    if where == "loss":
        settings = replace(SETTINGS, lr=1e30)
    elif where == "weights":
        nn.init.constant_(model[0].weight, float("nan"))
    else:
        broken = network()
        nn.init.constant_(broken[6].bias, float("inf"))
        options, loss = {"teacher": broken}, LogitL2()
    with pytest.raises(DivergedError, match="NaN or infinite"):
        run(settings, loss, model=model, **options)
    assert not model.training


def test_a_last_step_that_breaks_the_weights_is_noticed():
    class Infinite(Loss):
        needs_teacher = False

        def __call__(self, logits, teacher, labels):
            return (logits * 0).sum().sqrt()  # 0, with a gradient of 0 / 0

    settings = replace(SETTINGS, epochs=1, batch_size=64)
    with pytest.raises(DivergedError, match="a weight"):
        run(settings, Infinite())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"loss": LogitL2()}, "LogitL2 needs a teacher"),
        ({"teacher": network(), "teacher_logits": torch.zeros(65, 2)}, "got both"),
        ({"teacher_logits": torch.zeros(65, 2)}, "augment 'crop-flip'"),
        ({"validation": None}, "need validation images"),
        ({"model": network(classes=3)}, "2 classes, but has 3"),
        ({"teacher": network(classes=3), "loss": LogitL2()}, "2 classes, but has 3"),
        ({"seed": -1}, "negative"),
        ({"mean": (0.5, 0.5)}, "1 channels"),
    ],
)
def test_train_refuses(options, words):
    with pytest.raises(InputError, match=words):
        run(**options)


def test_train_refuses_logits_and_sets_that_do_not_fit():
    settings = replace(SETTINGS, augment="none")
    with pytest.raises(InputError, match=r"shape \(65, classes\), but got \(64, 2\)"):
        run(settings, LogitL2(), teacher_logits=torch.zeros(64, 2))
    one = TRAIN.subset(torch.tensor([0]))
    with pytest.raises(InputError, match="at least 2 images"):
        train(network(), one, CrossEntropy(), settings, validation=VALIDATION, **NORMAL)


def test_resumption_refuses_another_plan_or_network():
    state = stopped_after(1)
    with pytest.raises(InputError, match="settings differ"):
        run(replace(SETTINGS, lr=0.1), resume_state=state)
    with pytest.raises(InputError, match="seed differ"):
        run(seed=5, resume_state=state)
    with pytest.raises(InputError, match="loss differ"):
        run(loss=CrossEntropy(label_smoothing=0.1), resume_state=state)
    with pytest.raises(InputError, match="the network it began with"):
        run(model=nn.Sequential(nn.Flatten(), nn.Linear(64, 2)), resume_state=state)
    with pytest.raises(InputError, match="lacks 'history'"):
        TrainState.from_dict({})


def test_digits_teacher_reaches_98_percent():
    data = load_data("digits")
    model = build_teacher("digits-cnn", data.in_channels, data.num_classes, data.image_size, seed=0)
    settings = replace(default_recipe("digits", "digits-cnn"), epochs=6)
    train(
        model,
        data.train,
        CrossEntropy(),
        settings,
        mean=data.mean,
        std=data.std,
        validation=data.validation,
    )
    assert accuracy(model, data.validation, data.mean, data.std).top1 >= 0.98
