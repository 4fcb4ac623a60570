import pytest
import torch

from lesionlab.core.errors import RecipeError
from lesionlab.core.learning import TrainingSettings
from lesionlab.train.schedules import Schedule, learning_rate, make_optimiser
from networks_phantom import tiny_recipe


def parameter() -> torch.nn.Parameter:
    return torch.nn.Parameter(torch.tensor([1.0, -2.0]))


def rates(settings: TrainingSettings) -> list[float]:
    return [learning_rate(settings, epoch) for epoch in range(settings.epochs)]


@pytest.mark.parametrize("power", [0.9, 2.0])
def test_poly_is_nnunets(power):
    from nnunetv2.training.lr_scheduler.polylr import PolyLRScheduler

    settings = TrainingSettings(epochs=20, poly_power=power)
    optimiser = torch.optim.SGD([parameter()], 0.01)
    theirs = PolyLRScheduler(optimiser, 0.01, 20, power)
    found = []
    for epoch in range(20):
        theirs.step(epoch)
        found.append(optimiser.param_groups[0]["lr"])
    assert rates(settings) == pytest.approx(found, rel=1e-12)


@pytest.mark.parametrize("factor", [1, 2, 3])
def test_cosines_are_torchs(factor):
    optimiser = torch.optim.SGD([parameter()], 0.01)
    restarts = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(optimiser, T_0=4, T_mult=factor)
    found = []
    for _ in range(30):
        found.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        restarts.step()
    settings = TrainingSettings(
        epochs=30, schedule="cosine_restarts", restart_epochs=4, restart_factor=factor
    )
    assert rates(settings) == pytest.approx(found, rel=1e-9)
    assert rates(settings)[4] == 0.01
    plain = rates(TrainingSettings(epochs=30, schedule="cosine"))
    assert plain[0] == 0.01 and plain[15] == pytest.approx(0.005) and plain == sorted(plain, reverse=True)


def test_warm_up_rises_and_then_the_whole_schedule_follows():
    warm = rates(TrainingSettings(epochs=14, warm_up_epochs=4, learning_rate=0.5))
    assert warm[:4] == pytest.approx([0.1, 0.2, 0.3, 0.4])
    assert warm[4:] == pytest.approx(rates(TrainingSettings(epochs=10, learning_rate=0.5)))
    assert set(rates(TrainingSettings(epochs=5, schedule="constant"))) == {0.01}


def test_sgd_is_nesterovs_and_plain_without_momentum():
    """Second step of Nesterov with gradient 1: rate x (1 + momentum x (1 + momentum))."""
    for momentum, second in ((0.5, 0.1 * (1 + 0.5 * 1.5)), (0.0, 0.1)):
        weight = torch.nn.Parameter(torch.tensor(0.0))
        optimiser = make_optimiser(
            [weight], TrainingSettings(learning_rate=0.1, momentum=momentum, weight_decay=0)
        )
        before = 0.0
        for _ in range(2):
            before = float(weight.detach())
            weight.grad = torch.tensor(1.0)
            optimiser.step()
        assert before - float(weight.detach()) == pytest.approx(second)


@pytest.mark.parametrize("name", ["adam", "adamw"])
def test_the_adams_differ_in_how_the_weights_decay(name):
    """The first step of Adam is the rate, whatever the gradient; AdamW shrinks the weights apart from it."""
    weight = torch.nn.Parameter(torch.tensor(2.0))
    settings = TrainingSettings(optimiser=name, learning_rate=0.1, weight_decay=0.5)
    optimiser = make_optimiser([weight], settings)
    assert optimiser.param_groups[0]["betas"] == (0.9, 0.999)
    weight.grad = torch.tensor(3.0)
    optimiser.step()
    expected = 2.0 - 0.1 - (0.1 * 0.5 * 2.0 if name == "adamw" else 0.0)
    assert float(weight.detach()) == pytest.approx(expected, abs=1e-6)


def test_momentum_follows_the_optimiser_unless_it_is_set():
    assert TrainingSettings().inertia == 0.99
    assert tiny_recipe().changed(training={"optimiser": "adamw"}).training.inertia == 0.9
    assert TrainingSettings(optimiser="adam", momentum=0.5).inertia == 0.5


def test_the_schedule_sets_every_group():
    optimiser = torch.optim.SGD([{"params": [parameter()]}, {"params": [parameter()]}], 1.0)
    Schedule(optimiser, TrainingSettings(epochs=10, schedule="cosine")).step(5)
    assert [group["lr"] for group in optimiser.param_groups] == pytest.approx([0.005, 0.005])


@pytest.mark.parametrize(
    ("training", "needed"),
    [
        ({"epochs": 3, "warm_up_epochs": 3}, "warm_up_epochs = 3 must be below epochs = 3"),
        ({"momentum": 1.0}, "less than 1"),
        ({"lesion_free": "exclude", "lesion_free_share": 0.2}, "needs lesion_free 'include'"),
    ],
)
def test_settings_that_contradict_each_other(training, needed):
    with pytest.raises(RecipeError, match=needed):
        tiny_recipe().changed(training=training)


@pytest.mark.parametrize("schedule", ["poly", "cosine", "cosine_restarts", "constant"])
def test_a_schedule_in_time_passes_through_that_in_epochs(schedule):
    settings = TrainingSettings(epochs=20, schedule=schedule, minutes=5.0)
    optimiser = make_optimiser([torch.zeros(2, requires_grad=True)], settings)
    shares = iter([0.0, 0.25, 0.5])
    timed = Schedule(optimiser, settings, lambda epoch: next(shares) * settings.epochs)
    for epoch in (0, 5, 10):
        timed.step(99)
        assert optimiser.param_groups[0]["lr"] == pytest.approx(learning_rate(settings, epoch))
    # an epoch that begins after the last minute has the schedule's last rate, not one beyond it
    assert learning_rate(settings, 21.5) >= 0.0
