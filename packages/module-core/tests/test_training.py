"""What a training loop needs besides the model, except what needs several devices."""

import os
import sys
import threading

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from linnet.module_core import errors, training
from linnet.module_core.config import config
from linnet.module_core.training import (
    DynamicScale,
    EarlyStopping,
    PrefetchIterator,
    TrainState,
    checkpoints,
    common_utils,
    jax_utils,
    lr_schedule,
)
from linnet.module_core.training.train_state import OVERWRITE_WITH_GRADIENT
from linnet.struct import FrozenDict, serialization

PARAMS = {"w": jnp.array([1.0, 2.0])}
F32_MAX = np.finfo(np.float32).max
GRADS = {"w": jnp.array([1.0, -1.0])}


def state(params=PARAMS, tx=None):
    return TrainState.create(apply_fn=len, params=params, tx=tx or optax.sgd(0.5, momentum=0.5))


class TestTrainState:
    def test_an_update_is_optax_s(self):
        before = state()
        after = jax.jit(lambda s, g: s.apply_gradients(grads=g))(before, GRADS)
        updates, opt_state = before.tx.update(GRADS, before.opt_state, PARAMS)
        np.testing.assert_array_equal(after.params["w"], optax.apply_updates(PARAMS, updates)["w"])
        assert jax.tree.all(jax.tree.map(jnp.array_equal, after.opt_state, opt_state))
        assert (before.step, after.step.item()) == (0, 1)
        assert after.apply_fn is len

    def test_parameters_keep_their_dtype(self):
        params = {"w": jnp.ones(2, jnp.bfloat16), "none": None}
        after = state(params, optax.sgd(0.5)).apply_gradients(
            grads={"w": jnp.ones(2, jnp.float32), "none": None}
        )
        assert after.params["w"].dtype == jnp.bfloat16
        assert after.params["none"] is None

    def test_only_arrays_are_leaves(self):
        names = {str(path[0]) for path, _ in jax.tree_util.tree_leaves_with_path(state())}
        assert names == {".step", ".params", ".opt_state"}
        assert set(serialization.to_state_dict(state())) == {"step", "params", "opt_state"}

    def test_fields_of_a_subclass(self):
        class WithStats(TrainState):
            batch_stats: dict = None

        before = WithStats.create(apply_fn=len, params=PARAMS, tx=optax.sgd(1.0), batch_stats={})
        after = before.apply_gradients(grads=GRADS, batch_stats={"mean": 1.0})
        assert type(after) is WithStats
        assert after.batch_stats == {"mean": 1.0}

    def test_gradients_of_examples_that_the_transformation_averages(self):
        def average(updates, state, params):
            return jax.tree.map(lambda g: -g.mean(0), updates), state

        averaging = optax.GradientTransformation(lambda params: (), average)
        stacked = jax.tree.map(lambda g: jnp.stack([g, g]), GRADS)
        after = state(PARAMS, averaging).apply_gradients(grads=stacked)
        np.testing.assert_array_equal(after.params["w"], PARAMS["w"] - GRADS["w"])
        message = r"w has \(2, 2\), expected \(2,\)"
        for tx in (optax.sgd(0.5), optax.adam(0.5)):
            with pytest.raises(errors.ArgumentError, match=message):
                state(PARAMS, tx).apply_gradients(grads=stacked)

    def test_gradients_with_other_paths_are_named(self):
        with pytest.raises(errors.ArgumentError, match=r"missing: w; unknown: a, b\."):
            state().apply_gradients(grads={"a": 1.0, "b": 1.0})

    @pytest.mark.parametrize("kind", [dict, FrozenDict])
    def test_values_that_gradients_replace(self, kind):
        params = kind({"params": PARAMS, OVERWRITE_WITH_GRADIENT: {"scale": jnp.ones(1)}})
        grads = kind({"params": GRADS, OVERWRITE_WITH_GRADIENT: {"scale": jnp.full(1, 7.0)}})
        before = state(params)
        assert len(jax.tree.leaves(before.opt_state)) == len(jax.tree.leaves(state().opt_state))
        after = before.apply_gradients(grads=grads)
        np.testing.assert_array_equal(after.params["params"]["w"], [0.5, 2.5])
        assert after.params[OVERWRITE_WITH_GRADIENT]["scale"].item() == 7.0
        with pytest.raises(errors.ArgumentError, match="params has the collection"):
            before.apply_gradients(grads=GRADS)


class TestDynamicScale:
    def test_gradients_are_those_without_a_scale(self):
        def loss(w, x):
            return jnp.sum(w * x) ** 2, x

        args = (jnp.arange(3.0), jnp.ones(3))
        expected, grad = jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)(*args)
        scaled = DynamicScale().value_and_grad(loss, argnums=(0, 1), has_aux=True)
        result = jax.jit(scaled)(*args)
        for a, b in zip(
            jax.tree.leaves((result.aux, result.grad)), [*expected, *grad], strict=True
        ):
            np.testing.assert_array_equal(a, b)
        assert result.finite

    def test_a_small_gradient_does_not_vanish(self):
        def loss(w):
            return (w * jnp.float16(1e-5)) * jnp.float16(1e-4)

        w = jnp.float16(1)
        assert jax.grad(loss)(w) == 0
        scale = DynamicScale(scale=2.0**10)
        scaled = jax.grad(lambda w: loss(w) * jnp.float16(scale.scale))(w)
        assert scaled != 0
        assert scale.value_and_grad(lambda w: loss(w).astype(jnp.float32))(w).finite

    @pytest.mark.parametrize(
        ("before", "finite", "scale", "steps"),
        [
            (DynamicScale(scale=8.0), True, 8.0, 1),
            (DynamicScale(scale=8.0, fin_steps=5), False, 4.0, 0),
            (DynamicScale(scale=8.0, fin_steps=2, growth_interval=2), True, 16.0, 0),
            (DynamicScale(scale=8.0, fin_steps=2, growth_interval=2), False, 4.0, 0),
            (DynamicScale(scale=1.0, minimum_scale=1.0), False, 1.0, 0),
            (DynamicScale(scale=1.0, minimum_scale=None), False, 0.5, 0),
            (
                DynamicScale(scale=jnp.float32(3e38), fin_steps=2000),
                True,
                np.finfo(np.float32).max,
                0,
            ),
        ],
    )
    def test_the_next_scale(self, before, finite, scale, steps):
        after = before._after(jnp.array(finite))
        assert (after.scale.item(), after.fin_steps.item()) == (scale, steps)

    def test_gradients_are_averaged_over_an_axis(self):
        def grads(w):
            return DynamicScale().value_and_grad(lambda w: w**2, axis_name="batch")(w).grad

        mapped = jax.vmap(grads, axis_name="batch")(jnp.array([1.0, 3.0]))
        np.testing.assert_array_equal(mapped, [4.0, 4.0])


def test_early_stopping():
    stopping = EarlyStopping(min_delta=0.1, patience=2)
    seen = []
    for metric in (1.0, 0.95, 0.5, 0.45, float("nan"), 0.45, 0.3):
        stopping = stopping.update(metric)
        seen.append((stopping.has_improved, stopping.patience_count, stopping.should_stop))
    assert seen == [
        *((True, 0, False), (False, 1, False), (True, 0, False), (False, 1, False)),
        *((False, 2, False), (False, 3, True), (True, 0, True)),
    ]
    assert stopping.best_metric == 0.3
    assert stopping.reset() == EarlyStopping(min_delta=0.1, patience=2)


def test_schedules():
    constant = lr_schedule.create_constant_learning_rate_schedule
    assert constant(0.1, 10)(3) == 0.1
    assert constant(0.1, 10, warmup_length=2.0)(5) == pytest.approx(0.025)
    stepped = lr_schedule.create_stepped_learning_rate_schedule(0.1, 10, [[1, 0.5], [2, 0.1]], 1.0)
    rates = [stepped(step).item() for step in (0, 5, 10, 11, 20, 21)]
    np.testing.assert_allclose(rates, [0.0, 0.05, 0.1, 0.05, 0.05, 0.01])
    cosine = lr_schedule.create_cosine_learning_rate_schedule(0.1, 10, 5)
    steps = np.arange(0, 51, 10)
    np.testing.assert_allclose(
        jax.jit(jax.vmap(cosine))(steps), 0.05 * (1 + np.cos(np.pi * steps / 50)), atol=1e-8
    )


class TestCommonUtils:
    def test_one_hot(self):
        labels = np.array([[0, 2], [5, 1]])
        expected = np.where(labels[..., None] == np.arange(3), 0.9, 0.1)
        found = common_utils.onehot(labels, 3, on_value=0.9, off_value=0.1)
        np.testing.assert_array_equal(found, expected.astype(np.float32))
        assert found.dtype == jnp.float32

    def test_trees_are_stacked(self):
        stacked = common_utils.stack_forest(
            [{"a": 1, "b": jnp.ones(2)}, {"a": 2, "b": jnp.zeros(2)}]
        )
        np.testing.assert_array_equal(stacked["a"], [1, 2])
        np.testing.assert_array_equal(stacked["b"], [[1, 1], [0, 0]])

    def test_metrics_of_the_first_device(self):
        steps = [{"loss": jnp.array([1.0, 1.0])}, {"loss": jnp.array([2.0, 2.0])}]
        np.testing.assert_array_equal(common_utils.get_metrics(steps)["loss"], [1.0, 2.0])


class TestPrefetching:
    def test_elements_are_fetched_in_advance(self):
        fetched = []
        both = threading.Event()

        def elements():
            for i in range(3):
                fetched.append(i)
                if i == 1:
                    both.set()
                yield i

        ahead = PrefetchIterator(elements(), buffer_size=2)
        assert both.wait(10)
        assert list(ahead) == [0, 1, 2] == fetched
        with pytest.raises(StopIteration):
            next(ahead)

    def test_an_error_comes_in_its_turn(self):
        def elements():
            yield 1
            raise KeyError("second")

        ahead = PrefetchIterator(elements())
        assert next(ahead) == 1
        for _ in range(2):
            with pytest.raises(KeyError, match="second"):
                next(ahead)

    def test_closing_ends_the_thread(self):
        ahead = PrefetchIterator(iter(int, 1), buffer_size=2)  # without an end
        assert next(ahead) == 0
        ahead.close()
        assert not ahead._thread.is_alive()
        assert list(ahead) == []


class TestScanInDim:
    @pytest.mark.parametrize("axis", [0, 1, -1, (0,), (0, 1), (2, 0), (1, 0, 2)])
    @pytest.mark.parametrize("keepdims", [False, True])
    def test_it_is_a_loop(self, axis, keepdims):
        xs = np.arange(24).reshape(2, 3, 4)
        axes = (axis,) if isinstance(axis, int) else axis
        carry, ys = np.int32(0), np.zeros_like(xs)
        for index in np.ndindex(*(xs.shape[a] for a in axes)):
            at = [slice(None)] * 3
            for a, i in zip(axes, index, strict=True):
                at[a] = i
            carry = carry * 3 + xs[tuple(at)].sum()
            ys[tuple(at)] = xs[tuple(at)] + carry
        shapes = set()

        def body(carry, x):
            shapes.add(x.shape)
            carry = carry * 3 + x.sum()
            return carry, x + carry

        found = jax_utils.scan_in_dim(body, 0, jnp.asarray(xs), axis, keepdims=keepdims)
        np.testing.assert_array_equal(found[0], np.int32(carry))
        np.testing.assert_array_equal(found[1], ys.astype(np.int32))
        ((shape),) = shapes
        assert len(shape) == (3 if keepdims else 3 - len(axes))

    def test_unrolled(self):
        xs = jnp.arange(6).reshape(2, 3)
        found = jax_utils.scan_in_dim(lambda c, x: (c + x, c), 0, xs, (0, 1), unroll=(2, 3))
        np.testing.assert_array_equal(found[1], [[0, 0, 1], [3, 6, 10]])


def test_partial_evaluation():
    @jax.jit
    def inner(x):
        return x * 2, jnp.arange(2.0) + 1

    def function(x, y, z, k):
        return {"x": inner(x), "known": jnp.ones(2) * k, "y": y, "n": 3, "none": None, "z": z}

    double = jax.ShapeDtypeStruct((4,), jnp.int8)
    found = jax_utils.partial_eval_by_shape(function, [(2, 3), ((1,), jnp.float16), double], k=4)
    assert (found["x"][0].shape, found["x"][0].dtype) == ((2, 3), jnp.float32)
    np.testing.assert_array_equal(found["x"][1], [1.0, 2.0])
    np.testing.assert_array_equal(found["known"], [4.0, 4.0])
    assert (found["y"].dtype, found["z"].dtype) == (jnp.float16, jnp.int8)
    assert isinstance(found["n"], jax.Array)
    assert (found["n"].item(), found["none"]) == (3, None)


TREE = {"w": jnp.ones(2), "step": 3}


class TestCheckpoints:
    def save(self, folder, *steps, **options):
        for step in steps:
            checkpoints.save_checkpoint(folder, TREE, step, **options)
        return checkpoints.natural_sort(os.listdir(folder))

    def test_bytes_and_a_round_trip(self, tmp_path):
        path = checkpoints.save_checkpoint(tmp_path / "deep" / "er", TREE, 7)
        assert path == str(tmp_path / "deep" / "er" / "checkpoint_7")
        with open(path, "rb") as file:
            assert file.read() == (
                b"\x82\xa1w\xc7\x15\x01\x93\x91\x02\xa7float32\xc4\x08\x00\x00\x80?\x00\x00\x80?"
                b"\xa4step\x03"
            )
        for where in (tmp_path / "deep" / "er", path):
            found = checkpoints.restore_checkpoint(where, {"w": jnp.zeros(2), "step": 0})
            np.testing.assert_array_equal(found["w"], [1.0, 1.0])
            assert found["step"] == 3
            assert checkpoints.restore_checkpoint(where, None)["step"] == 3

    def test_which_are_kept(self, tmp_path):
        assert self.save(tmp_path / "a", 0, 1) == ["checkpoint_1"]
        assert self.save(tmp_path / "b", *range(8, 12), keep=3) == [
            *("checkpoint_9", "checkpoint_10", "checkpoint_11")
        ]
        assert self.save(tmp_path / "c", *range(30), keep=2, keep_every_n_steps=10) == [
            f"checkpoint_{n}" for n in (1, 11, 21, 28, 29)
        ]

    def test_older_steps_raise_an_error(self, tmp_path):
        names = self.save(tmp_path, 5)
        for step in (5, 4, 4.5):
            with pytest.raises(errors.InvalidCheckpointError, match=f'outdated.*step: "{step}"'):
                self.save(tmp_path, step)
        assert os.listdir(tmp_path) == names

    def test_overwriting_removes_what_came_later(self, tmp_path):
        self.save(tmp_path, 1, 2, 3, 4, keep=4)
        assert self.save(tmp_path, 3, keep=4, overwrite=True) == [
            *("checkpoint_1", "checkpoint_2", "checkpoint_3")
        ]

    def test_steps_may_be_fractions(self, tmp_path):
        names = self.save(tmp_path, 1e-7, 0.5, 1.0, 1e10, keep=9)
        assert names == [f"checkpoint_{n}" for n in ("1e-07", "0.5", "1.0", "10000000000.0")]
        assert checkpoints.available_steps(tmp_path, step_type=float) == [1e-7, 0.5, 1.0, 1e10]
        assert checkpoints.restore_checkpoint(tmp_path, None, step=0.5)["step"] == 3
        with pytest.raises(ValueError, match=r"not all are of type int.*\n.*step_type=float"):
            checkpoints.available_steps(tmp_path)

    def test_what_is_half_written_is_ignored(self, tmp_path):
        self.save(tmp_path, 1)
        for name in ("checkpoint_tmp", "checkpoint_2tmp", "checkpoint_3.orbax-checkpoint-tmp-1"):
            (tmp_path / name).write_bytes(b"\x82")
        assert checkpoints.latest_checkpoint(tmp_path) == str(tmp_path / "checkpoint_1")
        assert checkpoints.available_steps(tmp_path) == [1]
        assert checkpoints.restore_checkpoint(tmp_path, None)["step"] == 3

    def test_a_failed_write_leaves_what_there_was(self, tmp_path, monkeypatch):
        names = self.save(tmp_path, 1)

        def fail(*_):
            raise OSError("disk is full")

        monkeypatch.setattr(os, "replace", fail)
        with pytest.raises(OSError, match="disk is full"):
            self.save(tmp_path, 2)
        assert checkpoints.latest_checkpoint(tmp_path) == str(tmp_path / names[0])
        with pytest.raises(serialization.NotSerializableError):
            checkpoints.save_checkpoint(tmp_path, {"a": object()}, 3)
        assert checkpoints.available_steps(tmp_path) == [1]

    def test_where_there_is_nothing(self, tmp_path):
        target = {"a": 1}
        for folder in (tmp_path, tmp_path / "none"):
            assert checkpoints.restore_checkpoint(folder, target) is target
            assert checkpoints.latest_checkpoint(folder) is None
            assert checkpoints.available_steps(folder) == []
        with pytest.raises(ValueError, match="Matching checkpoint not found"):
            checkpoints.restore_checkpoint(tmp_path, target, step=1)

    def test_prefixes(self, tmp_path):
        checkpoints.save_checkpoint(tmp_path, {"a": 1}, 5, prefix="deep/best_")
        checkpoints.save_checkpoint(tmp_path, {"a": 2}, 4)
        assert checkpoints.restore_checkpoint(tmp_path, None, prefix="deep/best_") == {"a": 1}
        assert checkpoints.restore_checkpoint(tmp_path, None) == {"a": 2}
        assert checkpoints.available_steps(tmp_path, prefix="deep/best_") == [5]

    def test_in_a_thread(self, tmp_path):
        manager = checkpoints.AsyncManager()
        tree = {"a": np.ones(2)}
        for step in (1, 2):
            checkpoints.save_checkpoint(tmp_path, tree, step, async_manager=manager)
            tree["a"][:] = 5  # after it was copied
        manager.wait_previous_save()
        np.testing.assert_array_equal(checkpoints.restore_checkpoint(tmp_path, None)["a"], [5, 5])
        assert os.listdir(tmp_path) == ["checkpoint_2"]

    def test_one_process_of_several_is_like_one(self, tmp_path):
        path = checkpoints.save_checkpoint_multiprocess(tmp_path, TREE, 1)
        assert checkpoints.latest_checkpoint(tmp_path) == path

    def test_orbax_s_checkpointer_writes_and_reads_a_folder(self, tmp_path, monkeypatch):
        class Checkpointer:
            """The part of orbax that is called."""

            def save(self, path, item, force):
                path.mkdir()
                (path / "_METADATA").write_bytes(serialization.to_bytes(item))

            def restore(self, path, item=None, **options):
                with open(os.path.join(path, "_METADATA"), "rb") as file:
                    return serialization.msgpack_restore(file.read())

        orbax = Checkpointer()
        assert self.save(tmp_path, 1, 2, orbax_checkpointer=orbax) == ["checkpoint_2"]
        for where in (tmp_path, tmp_path / "checkpoint_2"):
            found = checkpoints.restore_checkpoint(
                where, {"w": jnp.zeros(2), "step": 0}, orbax_checkpointer=orbax
            )
            assert found["step"] == 3
        monkeypatch.setitem(sys.modules, "orbax.checkpoint", None)
        with pytest.raises(
            errors.MissingExtraError, match="a folder written by orbax, but orbax is not"
        ):
            checkpoints.restore_checkpoint(tmp_path, None)
        with (
            config.temp_flip_flag("use_orbax_checkpointing", True),
            pytest.raises(errors.MissingExtraError, match="orbax_checkpointing is on, but"),
        ):
            self.save(tmp_path, 3)
        assert self.save(tmp_path, 3) == ["checkpoint_3"]

    def test_natural_order(self):
        names = ["a10", "a2", "a-1", "a1.5", "b", "a1e3", "1", "x/10", "x/3"]
        assert checkpoints.natural_sort(names) == [
            *("1", "a-1", "a1.5", "a2", "a10", "a1e3", "b", "x/3", "x/10")
        ]
        assert checkpoints.natural_sort(["a-10", "a-2"], signed=False) == ["a-2", "a-10"]

    def test_paths_with_a_scheme(self):
        assert checkpoints.safe_normpath("gs://a//b/../c") == "gs://a/c"
        assert checkpoints.safe_normpath("/a/../b//c/") == "/b/c"

    def test_names_from_before_linen(self):
        old = {"B_10": {"Conv_3": 1, "Conv_1": 2}, "Dense_2": 3, "Dense_10": 4, "name": 5}
        assert checkpoints.convert_pre_linen(old) == {
            "B_0": {"Conv_0": 2, "Conv_1": 1},
            "Dense_0": 3,
            "Dense_1": 4,
            "name": 5,
        }


def test_what_is_imported_most():
    assert training.TrainState is TrainState
    assert training.save_checkpoint is checkpoints.save_checkpoint
    assert {"TrainState", "lr_schedule", "jax_utils"} <= set(dir(training))
