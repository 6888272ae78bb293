"""`jit`: `jax.jit` for functions of modules, as cheap as `jax.jit`.

A call bundles its objects (see `bundle`), which mostly consults cached structures, and passes
`jax.jit` the structure as a static argument and the values as one flat list. The compiled program
returns the values that the function changed and, as the structure of its output, the effect. This
module keeps no cache: `jax.jit` caches the programs by structure and drops them with the function.

Two options need more than that. Donated values form a separate list, and all of them are returned,
since the caller's variables must not be left with deleted buffers. Input shardings are options of
`jax.jit` itself, one for each leaf, so each assignment of shardings has a separate `jax.jit`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol, TypeAlias, TypedDict, Unpack, overload

import jax

from ...draws import Recorder, recording
from ...errors import ArgumentError, counted
from ...tracebacks import entry, named_after, strip
from ...typing import Output, Prefix
from ..structure.bundle import Bundle, detach_nodes
from ..structure.effect import After, Inside, Outcome
from ..structure.graphdef import GraphDef
from ..variable.layout import lay_out
from .calling import P, R, Transformed, given, names_of, optional_function, resolve
from .explaining import Explainer
from .lifting import Form
from .naming import (
    places_of_argument,
    places_of_objects,
    places_of_results,
    sharding_misfit,
)
from .placing import (
    explicit_mesh,
    has_formats,
    moved,
    on_mesh,
    output_laid_out,
    settled,
    shardings_after,
    with_formats,
)
from .prefixes import FilterMapping, bare_specs, detach_with_specs, plain, spec_of_each_leaf
from .refusals import Refused, explained, raised_in
from .stages import Lowered, Traced, abstract_output
from .tree_mode import Modes


class StateSharding(FilterMapping):
    """The sharding of each leaf of a module, given by filters or, as a `State`, by path.

    >>> from jax.sharding import PartitionSpec
    >>> from linnet.module_core import nnx
    >>> sharding = StateSharding({nnx.Param: PartitionSpec("data"), ...: PartitionSpec()})
    >>> len(sharding.shardings)
    2
    """

    _what = "sharding"

    @property
    def shardings(self) -> tuple[Any, ...]:
        """The shardings, in the order of the filters."""
        return self._specs


class JitOptions(TypedDict, total=False):
    """The options of `jit`."""

    in_shardings: Any
    out_shardings: Any
    static_argnums: int | Sequence[int] | None
    static_argnames: str | Iterable[str] | None
    donate_argnums: int | Sequence[int] | None
    donate_argnames: str | Iterable[str] | None
    keep_unused: bool
    device: Any
    backend: str | None
    inline: bool
    graph: bool | None
    graph_updates: bool | None


_Layout: TypeAlias = tuple[Any, Any, Any]
"""Which leaves are donated, their shardings, and where the arguments have shardings."""

_OPTIONS_OF_JAX = ("keep_unused", "device", "backend", "inline")


class _Prepared:
    """The objects of one call, and the arguments of the compiled program.

    `static` holds the arguments that are static for `jax.jit`, and `flat` holds the others.
    """

    __slots__ = ("bundle", "flat", "jitted", "static")

    def __init__(
        self,
        bundle: Bundle,
        jitted: Any,  # jax's type of it lacks methods that it has
        static: tuple[Any, ...],
        flat: tuple[Any, ...],
    ) -> None:
        self.bundle = bundle
        self.jitted = jitted
        self.static = static
        self.flat = flat


class Jitted(Transformed[P, R]):
    """A jitted function, with `lower`, `trace` and `eval_shape` as in `jax.jit`.

    Attributes:
      fun: the function.
      jitted_fn: what `jax.jit` returned for it; its arguments are modules taken apart. Trainers
        read its cache's size, through `nnx.cached_partial`, too, to notice compilations.
    """

    def __init__(self, fun: Callable[..., Any], options: JitOptions) -> None:
        super().__init__(fun)
        self._fun, self._bound = resolve(fun)
        self.fun = fun
        self._modes = Modes(options.get("graph"), options.get("graph_updates"))
        self._names = names_of(self._fun)
        self._static = self._arguments_named(
            options.get("static_argnums"), options.get("static_argnames")
        )
        self._donated = self._arguments_named(
            options.get("donate_argnums"), options.get("donate_argnames")
        )
        both = set(self._static[0]) & set(self._donated[0])
        if both:
            raise ArgumentError(
                f"Arguments {sorted(both)} are both static and donated.",
                hint="Only arrays and modules can be donated.",
            )
        self.in_shardings = bare_specs(options.get("in_shardings"), StateSharding)
        self.out_shardings = bare_specs(options.get("out_shardings"), StateSharding)
        self._modes.refuse_filters(self.in_shardings, "in_shardings")
        self._modes.refuse_filters(self.out_shardings, "out_shardings")
        self._has_formats = has_formats(self.in_shardings) or has_formats(self.out_shardings)
        self._mesh = explicit_mesh(self.out_shardings)
        given: dict[str, Any] = {name: options.get(name) for name in _OPTIONS_OF_JAX}
        self._options = {name: value for name, value in given.items() if value not in (None, False)}
        self.jitted_fn: Any = self._jit({})
        self._by_shardings: dict[Any, Any] = {}
        self._explainer = Explainer(self._fun, self._names)

    def _arguments_named(
        self,
        argnums: int | Sequence[int] | None,
        argnames: str | Iterable[str] | None,
    ) -> tuple[tuple[int, ...], tuple[str, ...]]:
        """Positions and names of arguments; an argument given by one is listed under both."""
        bound = len(self._bound)
        positions = {i + bound if i >= 0 else i for i in _as_tuple(argnums)}
        names = set(_as_tuple(argnames))
        try:
            parameters = [
                n
                for n, p in inspect.signature(self._fun).parameters.items()
                if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
            ]
        except (TypeError, ValueError):
            parameters = []
        positions = {i if i >= 0 else i + len(parameters) for i in positions}
        names |= {parameters[i] for i in positions if 0 <= i < len(parameters)}
        positions |= {parameters.index(n) for n in names if n in parameters}
        return tuple(sorted(positions)), tuple(sorted(names))

    def _jit(self, options: dict[str, Any]) -> Any:
        def run(*args: Any) -> Outcome:
            return self._run(*args)

        donate = (4, 6) if self._donated[0] or self._donated[1] else ()
        return jax.jit(
            named_after(self._fun, run),
            static_argnums=(0, 1, 2),
            donate_argnums=donate,
            **self._options,
            **options,
        )

    def _run(
        self,
        graphdef: GraphDef,
        static: tuple[tuple[Any, Any], ...],
        layout: _Layout | None,
        values: list[Any],
        donated: list[Any],
        args: tuple[Any, ...],
        donated_args: dict[Any, Any],
        kwargs: dict[str, Any],
    ) -> Outcome:
        constraints = None
        if layout is not None:
            donated_leaves, constraints, _ = layout
            given = iter(donated)
            kept = iter(values)
            values = [next(given) if d else next(kept) for d in donated_leaves]
        inside = Inside(graphdef, values, self._modes.tree)
        all_args = list(args)
        if static or donated_args:
            fixed = dict(static)
            positions = {**fixed, **donated_args}
            for position in sorted(p for p in positions if isinstance(p, int)):
                all_args.insert(position, positions[position])
            kwargs = {**kwargs, **{n: v for n, v in positions.items() if isinstance(n, str)}}
        self._explainer.traced(graphdef, values, all_args, kwargs, static)
        recorder = Recorder()
        with recording(recorder):
            output = inside.call(self._fun, all_args, kwargs)
            if layout is None and self.out_shardings is None:
                outcome = inside.leave(output)
            else:
                outcome = self._constrained(inside, output, layout, constraints)
        outcome.values = recorder.grouped(outcome.values)
        return outcome

    def _constrained(
        self, inside: Inside, output: Output, layout: _Layout | None, constraints: object
    ) -> Outcome:
        """The outcome, donated values included, with the requested shardings applied."""
        roots = list(inside.roots)
        before = len(roots)
        prefix = self.out_shardings
        output, occurrences = detach_with_specs(prefix, output, roots, "out_shardings")
        after = After(inside, roots)
        donated_leaves, given = (layout[0], layout[2]) if layout is not None else ((), ())
        of_leaf, moved_leaves = shardings_after(
            after, constraints, given, occurrences, roots[:before], roots
        )

        def is_sent(i: int) -> bool:
            source = after.sources[i]
            return (
                after.is_changed(i)
                or source is None
                or i in moved_leaves
                or bool(donated_leaves and donated_leaves[source])
            )

        try:
            laid = output_laid_out(plain(prefix), output)
        except (ValueError, AssertionError, IndexError) as error:
            places = places_of_argument(prefix, output, "the result", "out_shardings")
            raise sharding_misfit(places, "jit") or error from error
        outcome = inside.outcome(laid, after, is_sent)
        of_values = [of_leaf[i] for i in outcome.effect.changed]
        try:
            outcome.values = list(map(lay_out, outcome.values, of_values))
        except (ValueError, AssertionError, IndexError) as error:
            places = places_of_results(after, outcome, of_values, occurrences)
            raise sharding_misfit(places, "jit") or error from error
        if self._has_formats:
            with_formats(outcome, plain(prefix), of_values)
        return outcome

    def _prepare(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> _Prepared:
        if self._bound:
            args = self._bound + args
        if self._donated[0] or self._donated[1] or self.in_shardings is not None:
            return self._prepare_with_options(args, kwargs)
        static: tuple[Any, ...] = ()
        positions, names = self._static
        if positions or names:
            static, args, kwargs = _without(positions, names, args, kwargs)
        if not self._modes.graph:
            self._modes.check((args, kwargs), "jit")
        roots: list[Any] = []
        index_of: dict[int, int] = {}
        args = tuple([detach_nodes(a, roots, index_of) for a in args])
        if kwargs:
            kwargs = {n: detach_nodes(v, roots, index_of) for n, v in kwargs.items()}
        bundle = Bundle(roots)
        return _Prepared(
            bundle,
            self.jitted_fn,
            (bundle.graphdef, static, None),
            (bundle.values(), (), args, {}, kwargs),
        )

    def _prepare_with_options(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> _Prepared:
        shardings = self._shardings_for(args)
        by_position = dict(enumerate(shardings))
        static, _, _ = _without(*self._static, args, kwargs)
        fixed = {p for p, _ in static}
        given, _, _ = _without(*self._donated, args, kwargs)
        donated_keys = {p for p, _ in given}
        roots: list[Any] = []
        occurrences: list[Any] = []
        donates: list[Any] = []
        detached: dict[Any, Any] = {}
        for key, value in [*enumerate(args), *kwargs.items()]:
            if key in fixed:
                continue
            sharding = by_position.get(key) if isinstance(key, int) else None
            name = self._names[key] if isinstance(key, int) and key < len(self._names) else str(key)
            detached[key], found = detach_with_specs(
                sharding, value, roots, f"in_shardings of {name}"
            )
            named = [o._replace(where=name + o.where) for o in found]
            occurrences.extend(named)
            donates.extend(o._replace(spec=key in donated_keys, path=()) for o in named)
        if not self._modes.graph:
            given_args = [*enumerate(args), *kwargs.items()]
            self._modes.check([v for k, v in given_args if k not in fixed], "jit")
        bundle = Bundle(roots)
        leaf_shardings = spec_of_each_leaf(bundle, occurrences)
        donated_leaves = tuple(spec_of_each_leaf(bundle, donates, either=True))
        try:
            values = moved(bundle, leaf_shardings)
        except (ValueError, IndexError) as error:
            form = Form(bundle.graphdef, leaf_shardings, occurrences)
            raise sharding_misfit(places_of_objects(form, bundle), "jit") or error from error
        plain_args = tuple(
            v for k, v in detached.items() if isinstance(k, int) and k not in donated_keys
        )
        donated_args = {k: v for k, v in detached.items() if k in donated_keys}
        plain_kwargs = {
            k: v for k, v in detached.items() if isinstance(k, str) and k not in donated_keys
        }
        kept = [v for v, d in zip(values, donated_leaves, strict=True) if not d]
        given_values = [v for v, d in zip(values, donated_leaves, strict=True) if d]
        jitted = self.jitted_fn
        if self.in_shardings is not None:
            split = [
                [s for s, d in zip(leaf_shardings, donated_leaves, strict=True) if d is wanted]
                for wanted in (False, True)
            ]
            arg_shardings = tuple(
                plain(by_position.get(k))
                for k in detached
                if isinstance(k, int) and k not in donated_keys
            )
            donated_shardings = {
                k: plain(by_position.get(k)) if isinstance(k, int) else None for k in donated_args
            }
            in_shardings = (split[0], split[1], arg_shardings, donated_shardings, None)
            found_leaves, structure = jax.tree_util.tree_flatten(
                in_shardings, is_leaf=lambda x: x is None
            )
            key = (structure, tuple(found_leaves))
            jitted = self._by_shardings.get(key)
            if jitted is None:
                jitted = self._by_shardings[key] = self._jit({"in_shardings": in_shardings})
        placed = tuple((o.root, o.spec, o.path) for o in occurrences if o.spec is not None)
        layout = (donated_leaves, tuple(leaf_shardings), placed)
        return _Prepared(
            bundle,
            jitted,
            (bundle.graphdef, tuple(static), layout),
            (kept, given_values, plain_args, donated_args, plain_kwargs),
        )

    def _shardings_for(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """The sharding prefix of each positional argument, `self` included."""
        shardings = self.in_shardings
        bound = len(self._bound)
        if not isinstance(shardings, (tuple, list)) or _is_spec(shardings):
            return (None,) * bound + (shardings,) * (len(args) - bound)
        moving = [i for i in range(bound, len(args)) if i not in self._static[0]]
        if len(shardings) != len(moving):
            raise ArgumentError(
                f"in_shardings has {counted(len(shardings), 'entry', 'entries')} for"
                f" {counted(len(moving), 'non-static argument')}.",
                hint="Pass one entry for each, or a single one for all.",
            )
        found: list[Any] = [None] * len(args)
        for i, sharding in zip(moving, shardings, strict=True):
            found[i] = sharding
        return tuple(found)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        try:
            prepared = self._prepare(args, kwargs)
            try:
                if self._mesh is None:
                    outcome = prepared.jitted(*prepared.static, *prepared.flat)
                else:
                    with on_mesh(self._mesh):
                        outcome = prepared.jitted(*prepared.static, *prepared.flat)
            except (TypeError, RuntimeError, ValueError) as error:
                if raised_in(error, Jitted._run):
                    raise
                found = explained(error, self._refused(prepared, self._bound + args, kwargs))
                if found is not None:
                    raise found from error
                raise
            if self._has_formats:
                outcome = settled(outcome)
            output: R = self._modes.apply(prepared.bundle, outcome, "jit")
            return output
        except Exception as error:
            strip(error)
            raise

    def _refused(
        self, prepared: _Prepared, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Refused:
        positions, names = self._static
        shardings = None if self.in_shardings is None else self._shardings_for(args)
        _, _, plain_args, donated, _ = prepared.flat
        return Refused(
            self._fun, self._names, positions, names, args, kwargs, shardings, plain_args, donated
        )

    @entry
    def lower(self, *args: P.args, **kwargs: P.kwargs) -> Lowered[R]:
        """The program for these arguments before compilation; runs and changes nothing."""
        prepared = self._prepare(args, kwargs)
        with on_mesh(self._mesh):
            return Lowered(self, prepared.jitted.lower(*prepared.static, *prepared.flat))

    @entry
    def trace(self, *args: P.args, **kwargs: P.kwargs) -> Traced[R]:
        """The traced function for these arguments, with its `jaxpr`; runs and changes nothing."""
        prepared = self._prepare(args, kwargs)
        with on_mesh(self._mesh):
            return Traced(self, prepared.jitted.trace(*prepared.static, *prepared.flat))

    @entry
    def eval_shape(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """The output with `jax.ShapeDtypeStruct`s for arrays; runs and changes nothing."""
        prepared = self._prepare(args, kwargs)
        with on_mesh(self._mesh):
            outcome = settled(prepared.jitted.eval_shape(*prepared.static, *prepared.flat))
        output: R = abstract_output(prepared.bundle, outcome)
        return output

    def clear_cache(self) -> None:
        """Clears all compiled programs of this function."""
        self.jitted_fn.clear_cache()
        self._by_shardings.clear()


def _as_tuple(spec: int | str | Iterable[Any] | None) -> tuple[Any, ...]:
    if spec is None:
        return ()
    return (spec,) if isinstance(spec, (int, str)) else tuple(spec)


def _is_spec(x: object) -> bool:
    spec: Any = jax.sharding.PartitionSpec
    return isinstance(x, spec)


def _without(
    positions: Sequence[int], names: Sequence[str], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[tuple[Any, Any], ...], tuple[Any, ...], dict[str, Any]]:
    """The named arguments as (position or name, value), and the others."""
    taken = tuple([(i, args[i]) for i in positions if i < len(args)]) + tuple(
        [(n, kwargs[n]) for n in names if n in kwargs]
    )
    args = tuple([a for i, a in enumerate(args) if i not in positions])
    kwargs = {n: v for n, v in kwargs.items() if n not in names}
    return taken, args, kwargs


class JitForms(Protocol):
    """The type of `jit` for type checkers: called with a function, or as a decorator."""

    @overload
    def __call__(self, fun: Callable[P, R], **options: Unpack[JitOptions]) -> Jitted[P, R]: ...
    @overload
    def __call__(
        self, fun: None = None, **options: Unpack[JitOptions]
    ) -> Callable[[Callable[P, R]], Jitted[P, R]]: ...
    def __call__(self, fun: object = None, **options: Unpack[JitOptions]) -> object:
        """The jitted function, or a decorator if no function is given."""


def _forms(transform: Callable[..., Jitted[Any, Any]]) -> JitForms:
    forms: JitForms = optional_function(transform)
    return forms


@_forms
def jit(
    fun: Callable[..., Any] | None = None,
    *,
    in_shardings: Prefix = None,
    out_shardings: Prefix = None,
    static_argnums: int | Sequence[int] | None = None,
    static_argnames: str | Iterable[str] | None = None,
    donate_argnums: int | Sequence[int] | None = None,
    donate_argnames: str | Iterable[str] | None = None,
    keep_unused: bool = False,
    device: object = None,
    backend: str | None = None,
    inline: bool = False,
    graph: bool | None = None,
    graph_updates: bool | None = None,
) -> Jitted[Any, Any]:
    """`jax.jit` for functions of modules: their changes to modules reach the caller's modules.

    Args:
      fun: the function; if omitted, a decorator is returned. Bound and unbound methods work, too.
      in_shardings: for each argument, a sharding, a tree of them, or, for modules, `StateSharding`.
      out_shardings: the same for the output.
      static_argnums, static_argnames: hashable arguments that are part of the program.
      donate_argnums, donate_argnames: arguments whose buffers may be reused. The variables of a
        donated module hold the new buffers afterwards.
      keep_unused, device, backend, inline: see `jax.jit`.
      graph: if False, shared references raise an error.
      graph_updates: if False, only values reach the caller's objects, not changes of structure.

    >>> import jax.numpy as jnp
    >>> from linnet.module_core import nnx
    >>> class Counter(nnx.Module):
    ...     def __init__(self):
    ...         self.count = nnx.Variable(jnp.zeros((), int))
    >>> @nnx.jit
    ... def increment(counter):
    ...     counter.count[...] += 1
    >>> counter = Counter()
    >>> increment(counter)
    >>> counter.count[...]
    Array(1, dtype=int32)
    """
    options = JitOptions(
        in_shardings=in_shardings,
        out_shardings=out_shardings,
        static_argnums=static_argnums,
        static_argnames=static_argnames,
        donate_argnums=donate_argnums,
        donate_argnames=donate_argnames,
        keep_unused=keep_unused,
        device=device,
        backend=backend,
        inline=inline,
        graph=graph,
        graph_updates=graph_updates,
    )
    return Jitted(given(fun), options)
