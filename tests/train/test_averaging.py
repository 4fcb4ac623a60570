import numpy as np
import torch

from lesionlab.train.averaging import WeightAverage, averaged_tensors


def test_weight_averaging_follows_its_definition_and_gives_the_weights_back():
    parameter = torch.nn.Parameter(torch.tensor([1.0, 1.0]))
    average = WeightAverage(0.9)
    average.update([parameter])
    with torch.no_grad():
        parameter.fill_(2.0)
    average.update([parameter])
    decay = min(0.9, 3 / 12)
    with average.applied([parameter]):
        np.testing.assert_allclose(parameter.detach().numpy(), 1.0 * decay + 2.0 * (1 - decay), rtol=1e-6)
    np.testing.assert_array_equal(parameter.detach().numpy(), 2.0)
    off = WeightAverage(0.0)
    off.update([parameter])
    with off.applied([torch.nn.Parameter(torch.zeros(2))]):
        assert off.weights is None


def test_statistics_of_batch_normalisation_are_averaged_and_counts_are_not():
    network = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 1), torch.nn.BatchNorm2d(2))
    tensors = averaged_tensors(network)
    assert len(tensors) == 6
    assert any(t is network[1].running_mean for t in tensors)
    assert not any(t is network[1].num_batches_tracked for t in tensors)
    average = WeightAverage(0.5)
    average.update(tensors)
    network(torch.full((2, 1, 3, 3), 5.0))
    trained = network[1].running_mean.clone()
    with average.applied(tensors):
        np.testing.assert_array_equal(network[1].running_mean.numpy(), 0)
    torch.testing.assert_close(network[1].running_mean, trained, rtol=0, atol=0)
