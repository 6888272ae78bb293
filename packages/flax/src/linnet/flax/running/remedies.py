"""What to use instead of each name and module of Flax 0.12.8 that Linnet doesn't have.

Most of these names are ones that Flax's own files import from one another. A table lists them by
module, with one remedy for all; each of the others has its own remedy.
"""

from __future__ import annotations

_INSIDE = (
    "It is part of Flax's implementation. If the program needs what it does, please open an issue."
)
_FP8_META = (
    "Keep scales and histories in float32, and give each call in a loop its own: jax has no public"
    " way to make a dtype whose gradients are compared instead of added."
)

_GRAPH = (
    "ApplyCaller ArrayRefDef ArrayRefOutput AttrType BaseConfigContext CallableProxy DataElem "
    "DelayedAccessor GRAPH_CONTEXT GRAPH_REGISTRY GraphContext GraphFlatState GraphNodeImpl "
    "JAX_PYTREE_REGISTRY LEAF_ATTR LeafType NODE_ATTR NO_UPDATE NoUpdate NodeDefType NodeImpl "
    "NodeImplBase PYTREE_NODE_IMPL PYTREE_REGISTRY PythonRefMap PytreeNodeImpl REPEATED "
    "Repeated StaticCache StaticElem TreeNodeDef UpdateContextManager deprecated "
    "get_node_impl get_node_impl_for_type graph_pop is_node_module is_node_type "
    "register_graph_node_type register_pytree_node_type static_cache"
)

_LACKING = {
    "flax.core.frozen_dict": ("FrozenKeysView FrozenValuesView"),
    "flax.core.lift": ("CountsHolder TransformContext id_fn set_from_dict"),
    "flax.core.scope": ("child_rng_token"),
    "flax.linen.fp8_ops": (
        "CAN_USE_EARRAY dot_general_with_precision_jvp in_q_bwd in_q_fwd in_qdq_bwd in_qdq_fwd "
        "out_dq_bwd out_dq_fwd out_qdq_bwd out_qdq_fwd quantized_dot_bwd quantized_dot_fwd"
    ),
    "flax.linen.module": (
        "CompactNameScope Descriptor DescriptorWrapper ModuleBase ParentDescriptor TestScope "
        "ThreadLocalStack create_descriptor_wrapper module_field run_interceptors "
        "wrap_descriptor_once"
    ),
    "flax.linen.partitioning": ("core_remat_static"),
    "flax.linen.transforms": (
        "InstancePlaceholder VariablePlaceholder clean_clone fork_rngs get_module_scopes "
        "set_module_scopes"
    ),
    "flax.nnx.bridge.module": (
        "MODULE_CONTEXT ModuleBase ModuleContext ModuleMeta ModuleStackEntry ModuleState has_setup"
    ),
    "flax.nnx.bridge.wrappers": ("current_linen_module linen_rngs_dict"),
    "flax.nnx.graph": _GRAPH,
    "flax.nnx.graphlib": _GRAPH,
    "flax.nnx.helpers": ("ApplyCaller ModuleDefApply"),
    "flax.nnx.ids": ("UUID"),
    "flax.nnx.module": ("P StateMapping"),
    "flax.nnx.nn.lora": ("Size"),
    "flax.nnx.nn.recurrent": ("modified_orthogonal"),
    "flax.nnx.pytreelib": (
        "ArrayRepr AttributeStatus BUILDING_DOCS DATA_REGISTRY DataAnnotation MutableArrayRepr "
        "OBJECT_CONTEXT ObjectContext SizeBytes StaticAnnotation VariableRepr deepcopy"
    ),
    "flax.nnx.reprlib": (
        "COLOR Color NO_COLOR REPR_CONTEXT ReprContext colorized flax_config supports_color"
    ),
    "flax.nnx.rnglib": (
        "AxesValue Counts Fargs KeylessInitializer NotKey OutShardingType RngValue SplitBackups "
        "SplitPattern StreamBackup"
    ),
    "flax.nnx.spmd": ("deprecated"),
    "flax.nnx.statelib": ("ExtractValueFn NestedStateRepr SetValueFn"),
    "flax.nnx.summary": (
        "ArrayRepr NodeStats NoneDumper ObjectInfo SimpleObjectRepr SizeBytes in_ipython"
    ),
    "flax.nnx.training.optimizer": ("to_opt_state"),
    "flax.nnx.transforms.autodiff": (
        "BwdFn CustomVjp CustomVjpFnWrapper FwdFn GradFn SimpleBwdFn SimpleCustomVjp "
        "SimpleCustomVjpFn SimpleFwdFn SimpleGradFn SimpleJvpFn SimpleRematFn SimpleVjpFn labeled "
        "resolve_kwargs"
    ),
    "flax.nnx.transforms.compilation": (
        "JitFn P ShardMapFn SimpleJitFn SimpleJitPartialFn SimplePartialCompiled "
        "SimplePartialLowered SimplePartialTraced SimpleShardMapFn Stage labeled"
    ),
    "flax.nnx.transforms.iteration": (
        "AxisFn Broadcasted ForiLoopBodyFn PmapFn ScanFn SimpleForiLoopBodyFn SimplePmapFn "
        "SimpleScanFn SimpleVmapFn SimpleWhileLoopBodyFn SimpleWhileLoopCondFn VmapFn "
        "WhileLoopBodyFn WhileLoopCondFn labeled resolve_kwargs"
    ),
    "flax.nnx.transforms.transforms": (
        "CallableProxy CheckifyFn DelayedAccessor LiftedModule SimpleCheckifyFn SimpleCondFn "
        "SimpleEvalShapeFn SimpleMakeJaxprFn ValueMetadata labeled resolve_kwargs"
    ),
    "flax.nnx.variablelib": (
        "AbstractRef AbstractVariable BaseConfigContext Effect GetVariable HijaxVariable "
        "HijaxVariableMeta NewVariable Ref SetVariable SizeBytes VARIABLE_CONTEXT VarDefaults "
        "VarDefaultsContext VariableContext VariableEffect VariableQDD VariableTypeCache "
        "get_variable_p new_variable_p set_variable_p variable_effect"
    ),
    "flax.nnx.visualization": ("in_ipython render_object_constructor"),
    "flax.training.checkpoints": (
        "GlobalAsyncCheckpointManager MultiprocessArrayType get_tensorstore_spec "
        "sync_global_devices"
    ),
    "flax.typing": ("BaseConfigContext SizeBytes"),
}

_INSTEAD = {
    "flax.nnx.deprecations": _INSIDE,
    "flax.nnx.extract": _INSIDE,
    "flax.nnx.transforms.general": _INSIDE,
    "flax.testing": "Use pytest-benchmark.",
    **{
        f"flax.linen.fp8_ops.{name}": _FP8_META
        for name in (
            "Fp8MetaTyRules",
            "fm32",
            "fp32_max_grad",
            "fp8_meta_dtype",
            "fp8_meta_dtype_wrapper",
        )
    },
}
"""Modules, and names that have a remedy of their own."""

REMEDIES: dict[str, str] = {
    f"{module}.{name}": _INSIDE for module, names in _LACKING.items() for name in names.split()
} | _INSTEAD
"""Remedies by full name, as a program writes it ("flax.nnx.Missing")."""

_CLASS_TRANSFORM = (
    "Apply a function transform, such as nnx.jit, to a method or function of the module."
)

REMOVED = {
    "flax.nn": "Its layers are in flax.linen, in which modules declare what they hold.",
    "flax.optim": "Use optax, with flax.training.train_state.TrainState.",
    "flax.deprecated": "Its layers are in flax.linen, in which modules declare what they hold.",
    "flax.nnx.GraphNode": "Use nnx.Pytree.",
    "flax.nnx.TreeNode": "Use nnx.Pytree.",
    **{
        f"flax.nnx.{name}": _CLASS_TRANSFORM
        for name in ("Jit", "LiftedModule", "Pmap", "Remat", "Scan", "Vmap")
    },
}
"""Names that Flax 0.12.8 also lacks, but that older programs use."""


def remedy(name: str) -> str:
    """What to use instead of a name that Linnet lacks, or of one in a module that it lacks."""
    return REMEDIES.get(name) or REMEDIES[name.rpartition(".")[0]]
