"""What to use instead of each name and module of Flax 0.12.8 that Linnet doesn't have.

Most of these names are what Flax's own files import from one another. A table lists them by module,
with one remedy for all; the others have a remedy each.
"""

from __future__ import annotations

_INSIDE = (
    "It is part of how Flax works inside. If the program needs what it does, please open an issue."
)
_FP8_META = (
    "Keep scales and histories in float32, and give each call of a loop its own: jax has no public"
    " way to make a dtype whose gradients are compared instead of added."
)

_GRAPH = (
    "ApplyCaller ArrayRefDef ArrayRefOutput AttrType BaseConfigContext CallableProxy "
    "DataElem DelayedAccessor GRAPH_CONTEXT GRAPH_REGISTRY GenericPytree GraphContext "
    "GraphFlatState GraphNodeImpl HashableMapping Index IndexesPytreeDef "
    "JAX_PYTREE_REGISTRY Key LEAF_ATTR LeafAttr LeafType NODE_ATTR NO_UPDATE Names "
    "NoUpdate NodeAttr NodeDefType NodeImpl NodeImplBase PYTREE_NODE_IMPL PYTREE_REGISTRY "
    "PathParts PythonRefMap PytreeNodeImpl REPEATED Repeated StaticCache StaticElem "
    "TreeNodeDef UpdateContextManager config current_update_context deprecated "
    "get_node_impl get_node_impl_for_type graph_pop is_array_ref is_graph_node "
    "is_key_like is_node is_node_leaf is_node_module is_node_type is_pytree_node "
    "jax_to_nnx_path register_graph_node_type register_pytree_node_type static_cache"
)

_LACKING = {
    "flax.core.frozen_dict": ("FrozenKeysView FrozenValuesView"),
    "flax.core.lift": ("CountsHolder TransformContext id_fn set_from_dict"),
    "flax.core.scope": ("child_rng_token uuid"),
    "flax.core.spmd": (
        "Format apply_rules composite_rules from_sharding_rules get_mesh get_pspec "
        "map_sharding shard_value"
    ),
    "flax.errors": (
        "ImmutableVariableError MPACheckpointingRequiredError "
        "MPARestoreDataCorruptedError MPARestoreTargetRequiredError"
    ),
    "flax.experimental.nnx": ("current_update_context"),
    "flax.linen.batch_apply": (
        "arbitrary_mergeable_leaf merge_leading_dims ndim_at_least split_leading_dim"
    ),
    "flax.linen.fp8_ops": (
        "CAN_USE_EARRAY custom_jvp custom_vjp dot_general_with_precision_jvp in_q_bwd in_q_fwd "
        "in_qdq_bwd in_qdq_fwd out_dq_bwd out_dq_fwd out_qdq_bwd out_qdq_fwd "
        "quantized_dot_bwd quantized_dot_fwd"
    ),
    "flax.linen.kw_only_dataclasses": ("Annotation Default FieldName"),
    "flax.linen.linear": ("ShapedArray eval_shape"),
    "flax.linen.module": (
        "Args CompactNameScope Descriptor DescriptorWrapper FlaxId Kwargs ModuleBase "
        "NextGetter ParentDescriptor SetupState TestScope ThreadLocalStack "
        "capture_call_intermediates config create_descriptor_wrapper module_field "
        "run_interceptors tuple_init tuple_reduce uuid wrap_descriptor_once"
    ),
    "flax.linen.partitioning": ("core_remat_static"),
    "flax.linen.recurrent": ("DenseParams RNNBase"),
    "flax.linen.summary": ("LazyRng"),
    "flax.linen.transforms": (
        "FlaxId InstancePlaceholder LazyRng TransformTarget VariablePlaceholder clean_clone "
        "decorator_lift_transform decorator_lift_transform_cached fork_rngs get_module_scopes "
        "lift_direct_transform lift_transform lift_transform_cached "
        "module_class_lift_transform module_class_lift_transform_cached set_module_scopes "
        "wrap_method_once"
    ),
    "flax.nnx": ("current_update_context"),
    "flax.nnx.bridge.interop": ("nnx_eval_shape nnx_jit"),
    "flax.nnx.bridge.module": (
        "CollectionFilter FrozenDict MODULE_CONTEXT ModuleBase ModuleContext ModuleMeta "
        "ModuleStackEntry ModuleState has_setup"
    ),
    "flax.nnx.bridge.variables": ("LogicalNames"),
    "flax.nnx.bridge.wrappers": ("FrozenDict current_linen_module linen_rngs_dict"),
    "flax.nnx.filterlib": ("FilterLiteral ellipsis"),
    "flax.nnx.graph": _GRAPH,
    "flax.nnx.graphlib": _GRAPH,
    "flax.nnx.helpers": ("ApplyCaller ModuleDefApply has_keyword_arg"),
    "flax.nnx.ids": ("UUID"),
    "flax.nnx.module": (
        "Key ModuleMeta P Path PathParts PytreeMeta StateMapping tuple_init tuple_reduce"
    ),
    "flax.nnx.nn.initializers": ("DtypeLikeInexact"),
    "flax.nnx.nn.linear": ("FrozenDict Size"),
    "flax.nnx.nn.lora": ("Size"),
    "flax.nnx.nn.recurrent": ("Carry Output RNNBase modified_orthogonal"),
    "flax.nnx.pytreelib": (
        "ArrayRepr AttributeStatus BUILDING_DOCS DATA_REGISTRY DataAnnotation MISSING Missing "
        "MutableArrayRepr OBJECT_CONTEXT ObjectContext ObjectMeta PytreeMeta PytreeState "
        "SizeBytes StaticAnnotation VariableRepr config deepcopy"
    ),
    "flax.nnx.reprlib": (
        "COLOR Color NO_COLOR REPR_CONTEXT ReprContext colorized flax_config supports_color"
    ),
    "flax.nnx.rnglib": (
        "AxesValue Counts Fargs Key KeylessInitializer MISSING Missing NotKey OutShardingType "
        "RngValue SplitBackups SplitPattern StreamBackup"
    ),
    "flax.nnx.spmd": ("PartitionSpec Sharding deprecated eval_shape"),
    "flax.nnx.statelib": ("ExtractValueFn Key NestedStateRepr PathParts SetValueFn"),
    "flax.nnx.summary": (
        "ArrayRepr NodeStats NoneDumper ObjectInfo SimpleObjectRepr SizeBytes in_ipython"
    ),
    "flax.nnx.training.optimizer": ("MISSING to_opt_state"),
    "flax.nnx.transforms.autodiff": (
        "AxisName BwdFn CustomVjp CustomVjpFnWrapper FwdFn GradFn MISSING Missing SimpleBwdFn "
        "SimpleCustomVjp SimpleCustomVjpFn SimpleFwdFn SimpleGradFn SimpleJvpFn SimpleRematFn "
        "SimpleVjpFn labeled resolve_kwargs"
    ),
    "flax.nnx.transforms.compilation": (
        "AbstractMesh AxisName Compiled JitFn JitWrapped Lowered MISSING Mesh Missing P "
        "PartitionSpec PathParts ShardMapFn SimpleCompiled SimpleJitFn SimpleJitPartialFn "
        "SimpleJitPartialWrapped SimpleJitWrapped SimpleLowered SimplePartialCompiled "
        "SimplePartialLowered SimplePartialTraced SimpleShardMapFn SimpleTraced Specs Stage "
        "Traced labeled"
    ),
    "flax.nnx.transforms.iteration": (
        "AxisFn AxisName Broadcasted ForiLoopBodyFn FrozenDict Index Leaf Leaves Missing "
        "PmapFn PytreeDeque ScanFn SimpleForiLoopBodyFn SimplePmapFn SimpleScanFn "
        "SimpleVmapFn SimpleWhileLoopBodyFn SimpleWhileLoopCondFn VmapFn WhileLoopBodyFn "
        "WhileLoopCondFn labeled resolve_kwargs"
    ),
    "flax.nnx.transforms.transforms": (
        "AxisName CallableProxy CheckifyFn DelayedAccessor Index Leaf Leaves LiftedModule "
        "MISSING Missing SimpleCheckifyFn SimpleCondFn SimpleEvalShapeFn SimpleMakeJaxprFn "
        "ValueMetadata labeled resolve_kwargs"
    ),
    "flax.nnx.traversals": ("IsLeafCallable"),
    "flax.nnx.variablelib": (
        "AbstractRef AbstractVariable AddAxisHook AxisIndex AxisName BaseConfigContext "
        "CreateValueHook Effect GetValueHook GetVariable HijaxVariable HijaxVariableMeta Leaf "
        "MISSING Missing NewVariable PyTreeDef Ref RemoveAxisHook SetValueHook SetVariable "
        "SizeBytes VARIABLE_CONTEXT VarDefaults VarDefaultsContext VariableContext "
        "VariableEffect VariableMeta VariableQDD VariableTypeCache config get_variable_p "
        "is_array_ref new_variable_p set_variable_p variable_effect"
    ),
    "flax.nnx.visualization": ("in_ipython render_object_constructor"),
    "flax.traceback_util": ("register_exclusion"),
    "flax.training.checkpoints": (
        "COMMIT_SUCCESS_FILE GlobalAsyncCheckpointManager MP_ARRAY_PH MP_ARRAY_POSTFIX "
        "MultiprocessArrayType ORBAX_CKPT_FILENAME ORBAX_MANIFEST_OCDBT "
        "ORBAX_METADATA_FILENAME config get_tensorstore_spec process_index "
        "sync_global_devices"
    ),
    "flax.training.dynamic_scale": ("Array"),
    "flax.typing": (
        "BaseConfigContext HashableMapping Leaf MISSING Missing PytreeDeque ShapeDtype "
        "SizeBytes has_shape_dtype is_key_like"
    ),
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
"""By full name, as a program writes it ("flax.nnx.Missing")."""
