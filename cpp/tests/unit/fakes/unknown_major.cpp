// A TensorRT of a major that does not exist yet.
extern "C" __attribute__((visibility("default"))) int getInferLibVersion() { return 120000; }
extern "C" __attribute__((visibility("default"))) void* createInferRuntime_INTERNAL(void*, int) { return nullptr; }
