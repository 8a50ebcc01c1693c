// TensorRT-RTX under TensorRT's name: the same C symbols, version 1.
extern "C" __attribute__((visibility("default"))) int getInferLibVersion() { return 10200; }
extern "C" __attribute__((visibility("default"))) void* createInferRuntime_INTERNAL(void*, int) { return nullptr; }
