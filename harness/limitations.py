"""What harness does not do, as data that the documentation, the command line and the tests read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["unsupported", "inexact", "unverified"]


@dataclass(frozen=True)
class Limitation:
    """``where``: a module of harness; ``what``: an op or feature; ``reason``: one a reader can check."""

    where: str
    what: str
    kind: Kind
    reason: str


LIMITATIONS: tuple[Limitation, ...] = (
    Limitation(
        "runtimes.portable",
        "float16 numerics",
        "inexact",
        "Apple publishes neither accumulation width nor rounding of its compute units: results are rounded to "
        "float16 after every op and accumulated in float32, which is one model of a device",
    ),
    Limitation(
        "runtimes.portable",
        "neuralnetwork",
        "unsupported",
        "the portable runtime executes ML Programs; .mlmodel files of the neuralnetwork kind run on a Mac only",
    ),
    Limitation(
        "runtimes.portable.ops",
        "while_loop",
        "inexact",
        "a loop that has not ended after 100,000 turns is an error, so that a damaged program cannot hang",
    ),
    Limitation(
        "runtimes.portable.ops",
        "_const_symbolic",
        "unsupported",
        "stands for a symbol inside coremltools' converter and is never written into a package: its backend "
        "(converters/mil/backend/mil/load.py) writes const only",
    ),
    Limitation(
        "runtimes.coreml",
        "every figure",
        "unverified",
        "no Mac was at hand when this was written: the macOS path is tested against a stand-in of coremltools' "
        "native module, and no latency or accuracy of a real device is claimed",
    ),
    Limitation(
        "frontends.onnx",
        "64-bit integers",
        "inexact",
        "MIL computes with int32: constants beyond 32 bits are clipped, which is what slices to the end need",
    ),
    Limitation(
        "frontends.onnx",
        "strings, sequences, optionals, complex, float64, bfloat16 and float8 arithmetic",
        "unsupported",
        "Core ML's ML Programs have no such tensors to compute with; found before conversion and told by node",
    ),
    Limitation(
        "frontends.onnx",
        "SequenceAt, SequenceConstruct, SequenceEmpty, SequenceErase, SequenceInsert, SequenceLength, "
        "SequenceMap, SplitToSequence, ConcatFromSequence",
        "unsupported",
        "ML Programs have lists inside loops only, no sequences as values",
    ),
    Limitation(
        "frontends.onnx",
        "Optional, OptionalGetElement, OptionalHasElement",
        "unsupported",
        "a value in an ML Program is always there",
    ),
    Limitation(
        "frontends.onnx",
        "RegexFullMatch, StringConcat, StringNormalizer, StringSplit, TfIdfVectorizer",
        "unsupported",
        "ML Programs do not compute with strings",
    ),
    Limitation(
        "frontends.onnx",
        "ImageDecoder",
        "unsupported",
        "Core ML decodes images before a model sees them",
    ),
    Limitation(
        "frontends.onnx",
        "Multinomial, RandomNormal, RandomNormalLike, RandomUniform, RandomUniformLike, Bernoulli",
        "unsupported",
        "a random result cannot be compared with a reference",
    ),
    Limitation(
        "frontends.onnx",
        "DFT, STFT, MelWeightMatrix, MaxRoiPool",
        "unsupported",
        "not translated yet; constant ones are folded",
    ),
    Limitation(
        "frontends.onnx",
        "Adagrad, Adam, Gradient, Momentum, FlexAttention",
        "unsupported",
        "preview domains of ONNX (ai.onnx.preview, ai.onnx.preview.training) are not read",
    ),
    Limitation(
        "frontends.onnx",
        "ArrayFeatureExtractor, Binarizer, CastMap, CategoryMapper, DictVectorizer, FeatureVectorizer, "
        "Imputer, LabelEncoder, LinearClassifier, LinearRegressor, Normalizer, OneHotEncoder, SVMClassifier, "
        "SVMRegressor, Scaler, TreeEnsemble, TreeEnsembleClassifier, TreeEnsembleRegressor, ZipMap",
        "unsupported",
        "the domain ai.onnx.ml is not read: it is no part of networks",
    ),
    Limitation(
        "frontends.onnx",
        "attributes axis and broadcast of arithmetic before opset 7",
        "unsupported",
        "broadcasting had other rules; onnx.version_converter writes them anew",
    ),
    Limitation(
        "frontends.onnx",
        "computed sizes, axes and bounds",
        "unsupported",
        "a parameter that MIL wants as a constant is taken from the declared shape where only one value fits "
        "it, and refused elsewhere",
    ),
    Limitation(
        "frontends.tflite",
        "MULTINOMIAL, RANDOM_STANDARD_NORMAL, RANDOM_UNIFORM",
        "unsupported",
        "a random result cannot be compared with a reference",
    ),
    Limitation(
        "frontends.tflite",
        "HASHTABLE, HASHTABLE_FIND, HASHTABLE_IMPORT, HASHTABLE_SIZE, SKIP_GRAM",
        "unsupported",
        "ML Programs do not compute with strings: TFLite's kernels know tables of strings to int64 and back only "
        "(kernels/hashtable.cc), and skip-grams of texts",
    ),
    Limitation(
        "frontends.tflite",
        "LSH_PROJECTION",
        "unsupported",
        "it hashes the bytes of its inputs (FarmHash of 64 bits), which MIL's int32 does not hold",
    ),
    Limitation(
        "frontends.tflite",
        "CONCAT_EMBEDDINGS",
        "unsupported",
        "TensorFlow Lite has no kernel of it either: it is a name in the schema",
    ),
    Limitation(
        "frontends.tflite",
        "DELEGATE",
        "unsupported",
        "stands for what a delegate has taken over in a running interpreter, and is never written into a file",
    ),
    Limitation(
        "frontends.tflite",
        "BITCAST between floats and integers",
        "unsupported",
        "MIL has no operation on the bits of a float; constants are read anew",
    ),
    Limitation(
        "frontends.tflite",
        "64-bit integers",
        "inexact",
        "MIL computes with int32: constants beyond 32 bits are clipped, which is what slices to the end need",
    ),
    Limitation(
        "frontends.tflite",
        "variables that last from one prediction to the next",
        "unsupported",
        "Core ML has state since iOS 18, so that the target must be that or newer; state is float16, float32 variables "
        "of fixed shape are rounded to it between predictions, others are refused",
    ),
    Limitation(
        "frontends.tflite",
        "state of recurrent layers (LSTM, RNN, SVDF and their sequences)",
        "inexact",
        "each prediction begins with a state of zeros, as the interpreter's first after it was allocated or its "
        "variables were reset; what the interpreter keeps from one prediction to the next is not kept",
    ),
    Limitation(
        "frontends.tflite",
        "MaxUnpooling2D",
        "inexact",
        "an index beyond its window, which no MaxPoolingWithArgmax2D of the same window writes, is passed over",
    ),
    Limitation(
        "frontends.tflite",
        "float inputs of integer weights",
        "inexact",
        "TensorFlow Lite's hybrid kernels round such an input to 8 bits for each prediction; here it is computed in "
        "floating point. The conversion warns of it, by operator. In twelve networks with dynamic-range weights the "
        "results differ from the interpreter's by 0.1 to 5 % of the output's range at most; from those of the same "
        "networks in float32 they differ by 0.1 to 4 %, the interpreter's by 0.2 to 6 %",
    ),
    Limitation(
        "frontends.tflite",
        "LOCAL_RESPONSE_NORMALIZATION against the reference kernel",
        "inexact",
        "TFLite's reference kernel leaves the last channel out of each window; TensorFlow, TFLite's plain kernel and "
        "the converted program do not, and the plain kernel is what it is compared with",
    ),
    Limitation(
        "frontends.tflite",
        "SUM of integers against the reference kernel",
        "inexact",
        "TFLite's reference kernel gives numbers that are no sums; the plain kernel and the converted program round "
        "the sum to the nearest step, and the plain kernel is what it is compared with",
    ),
    Limitation(
        "frontends.tflite",
        "quantised activations",
        "inexact",
        "computed as floats that are rounded to each tensor's grid: a result may differ from the interpreter's "
        "integers by a step where a sum lies between two, and that of an int8 convolution in a few of a million "
        "elements, where a float32 cannot tell on which side it lies. Deep networks enlarge that: of an int8 U-Net of "
        "256 x 256 pixels 2 to 5 % of the elements differ by 1 to 3 of 255 steps on photographs, of the one with a "
        "custom activation 0 to 0.2 % by up to 29, of super-resolution 0 to 0.02 %",
    ),
    Limitation(
        "frontends",
        "tensors of more than five axes",
        "unsupported",
        "Core ML loads none: movements, elementwise operations, reductions and products of matrices on them are "
        "written with fewer axes, other operations, inputs and outputs are refused",
    ),
    Limitation(
        "runtimes.coreml",
        "compute plan",
        "inexact",
        "devices and costs are Core ML's estimate before execution (MLComputePlan, macOS 14.4 and newer): neither a "
        "measurement nor a promise of where an operation is executed",
    ),
    Limitation(
        "runtimes.coreml",
        "compute unit without its device",
        "inexact",
        "coremltools accepts CPU_AND_NE on a Mac without a Neural Engine, and CPU_AND_GPU without a GPU; what "
        "executes instead is not told. `harness doctor` lists such units",
    ),
    Limitation(
        "runtimes.coreml",
        "frequency of cores",
        "unsupported",
        "macOS tells a thermal state and low-power mode, no clock frequency without administrator's rights "
        "(powermetrics): a slowdown that leaves the thermal state below serious is not seen",
    ),
    Limitation(
        "runtimes.portable.stand_in",
        "devices, costs and failures",
        "inexact",
        "compute devices, estimated costs and failures of the stand-in are made up for tests: they say nothing "
        "about Core ML",
    ),
    Limitation(
        "suites.coremltools",
        "iOS18/test_compression.py::*precision='fp32'*lut_dtype=fp16]",
        "inexact",
        "passes at 1e-2 and not at its own 1e-4: the program adds in float32, the test expects float16 values",
    ),
    Limitation(
        "suites.coremltools",
        "::TestCropResize::test_builder_to_backend_ios1[67]*precision='fp32'*",
        "inexact",
        "passes at 1e-2 and not at its own 1e-4: the test expects 7.899 at (y, x) = (1.5, 0.9) of the image "
        "1 + x + 4y, which is 7.9",
    ),
    Limitation(
        "suites.coremltools",
        "mil/ops/tests/*precision='fp32'*dtype=*numpy.float16*",
        "inexact",
        "passes at 1e-2 and not at its own 1e-4: the test gives float16 values to a float32 case, which no float16 "
        "computation meets",
    ),
    Limitation(
        "suites.coremltools",
        "::TestChangeInputOutputTensorType::test_change_output_type_multifunc* raises does not return the model",
        "unsupported",
        "change_input_output_tensor_type (coremltools/models/utils.py) renames the described output once for each "
        "function, so that the package names an output that its program does not return; the test does not predict",
    ),
    Limitation(
        "suites.coremltools",
        "iOS14/test_scatter_gather.py::TestScatter::test_builder_to_backend_programmatic*'fp16'*accumulate_mode=div]",
        "inexact",
        "passes at 1e-2, where a value beyond 65504 counts as infinite, and not at its own 0.5: the test divides by "
        "up to 64 random numbers below 1 and expects quotients as large as 1e13 of a scatter whose output is float16. "
        "A device that keeps float32 behind it would give them, as the portable runtime's float32 numerics do",
    ),
    Limitation(
        "suites.coremltools",
        "test_v2_ops_tf_keras.py::TestGelu::test[[]*approximate=False] raises TF op 'Erfc' not implemented",
        "unsupported",
        "fails while coremltools converts, on every machine: its TensorFlow frontend (ops.py) has no Erfc, which "
        "tf.nn.gelu of TensorFlow 2.21 is written with where older versions wrote Erf",
    ),
    Limitation(
        "suites.coremltools",
        "coremltools/test/* raises is not an ML Program; received neuralNetwork",
        "unsupported",
        "the portable runtime executes ML Programs; a neural network loads, so that its structure can be asked for, "
        "and does not predict",
    ),
    Limitation(
        "suites.coremltools",
        "::TestApiVisibilities::test_optimize raises API mis-matched*expected*'coreml', 'torch'",
        "unsupported",
        "expects coremltools.optimize.torch, which coremltools has where PyTorch is installed",
    ),
    Limitation(
        "suites.coremltools",
        "test_modelpackage.py::TestMLModel::test_model_save_no_extension raises No module named 'torch'",
        "unsupported",
        "imports PyTorch, which the extra `suites` does not install, without a check of its own",
    ),
)


def limitations(where: str = "") -> tuple[Limitation, ...]:
    """All of a module and of those below it."""
    return tuple(item for item in LIMITATIONS if item.where.startswith(where))
