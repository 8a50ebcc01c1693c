// A shared library without TensorRT's entry points.
extern "C" __attribute__((visibility("default"))) int getInferLibVersion() { return 100600; }
