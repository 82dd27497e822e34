"""Graphs simplified for OpenCV: their results stay the same."""

import cv2
import numpy as np
import onnx
import onnx_ir
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from ugatit_mm.export.static import simplify


def graph(weights: np.ndarray) -> onnx.ModelProto:
    """Convolutions with the two halves of a constant, each times its mean as (N, C, 1, 1).

    One names the size of its kernel; onnxscript 0.7.0 does not.
    """
    nodes = [
        helper.make_node('Split', ['weights'], ['w0', 'w1'], axis=1, num_outputs=2),
        helper.make_node('Conv', ['pixels', 'w0'], ['c0'], kernel_shape=[1, 1]),
        helper.make_node('Conv', ['pixels', 'w1'], ['c1']),
        helper.make_node('Add', ['c0', 'c1'], ['sum']),
        helper.make_node('ReduceMean', ['sum', 'axes'], ['mean'], keepdims=0),
        helper.make_node('Unsqueeze', ['mean', 'axes'], ['wide']),
        helper.make_node('Mul', ['sum', 'wide'], ['image']),
    ]
    values = [
        numpy_helper.from_array(weights, 'weights'),
        numpy_helper.from_array(np.array([2, 3]), 'axes'),
    ]
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in (('pixels', [1, 3, 5, 6]), ('image', [1, 4, 5, 6]))
    ]
    made = helper.make_graph(nodes, 'g', ends[:1], ends[1:], values)
    # of an age that each ONNX Runtime of setup.cfg reads
    opsets = [helper.make_opsetid('', 18)]
    model = helper.make_model(made, opset_imports=opsets, ir_version=10)
    return onnx.shape_inference.infer_shapes(model)


def test_opencv_reads_what_was_simplified(tmp_path):
    rng = np.random.default_rng(0)
    weights = rng.normal(size=(4, 6, 1, 1)).astype(np.float32)
    x = rng.normal(size=(1, 3, 5, 6)).astype(np.float32)
    sums = np.einsum('oi,nihw->nohw', (weights[:, :3] + weights[:, 3:])[..., 0, 0], x)
    wanted = sums * sums.mean((2, 3), keepdims=True)
    made = graph(weights)
    with pytest.raises(cv2.error):
        cv2.dnn.readNetFromONNX(np.frombuffer(made.SerializeToString(), np.uint8))
    model = onnx_ir.from_proto(made)
    simplify(model)
    onnx_ir.save(model, tmp_path / 'g.onnx')
    onnx.checker.check_model(tmp_path / 'g.onnx', full_check=True)
    kinds = [node.op_type for node in model.graph]
    assert kinds == ['Conv', 'Conv', 'Add', 'ReduceMean', 'Reshape', 'Mul']
    for convolution in list(model.graph)[:2]:
        assert convolution.attributes['kernel_shape'].as_ints() == (1, 1)
    session = onnxruntime.InferenceSession(tmp_path / 'g.onnx', providers=['CPUExecutionProvider'])
    np.testing.assert_allclose(session.run(None, {'pixels': x})[0], wanted, rtol=1e-5, atol=1e-6)
    network = cv2.dnn.readNetFromONNX(str(tmp_path / 'g.onnx'))
    network.setInput(x)
    np.testing.assert_allclose(network.forward('image'), wanted, rtol=1e-5, atol=1e-6)
