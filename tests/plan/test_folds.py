import pytest
from hypothesis import given
from hypothesis import strategies as st

from lesionlab.core.errors import DatasetError
from lesionlab.plan.folds import patient_folds


@given(st.lists(st.integers(0, 8), min_size=9, max_size=40), st.integers(2, 5), st.integers(0, 99))
def test_every_case_is_held_out_once_and_patients_never_straddle(owners, folds, seed):
    patients = {f"case{i}": f"p{owner}" for i, owner in enumerate(owners)}
    if len(set(patients.values())) < folds:
        with pytest.raises(DatasetError, match="at least as many patients"):
            patient_folds(patients, folds, seed)
        return
    splits = patient_folds(patients, folds, seed)
    held_out = [case for split in splits for case in split["val"]]
    assert sorted(held_out) == sorted(patients)
    for split in splits:
        assert sorted(split["train"] + split["val"]) == sorted(patients)
        train = {patients[c] for c in split["train"]}
        assert train.isdisjoint(patients[c] for c in split["val"])


def test_the_order_of_cases_does_not_matter_and_the_seed_does():
    patients = {f"c{i}": f"p{i}" for i in range(20)}
    backwards = dict(reversed(patients.items()))
    assert patient_folds(patients, 5, 1) == patient_folds(backwards, 5, 1)
    assert patient_folds(patients, 5, 1) != patient_folds(patients, 5, 2)


def test_lesion_free_patients_are_spread_over_the_folds():
    patients = {f"c{i}": f"p{i}" for i in range(20)}
    sick = {case: i >= 5 for i, case in enumerate(patients)}
    for split in patient_folds(patients, 5, 0, with_lesion=sick):
        assert sum(not sick[case] for case in split["val"]) == 1
