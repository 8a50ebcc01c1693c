// TensorRT 7, whose interface the core does not know.
extern "C" __attribute__((visibility("default"))) int getInferLibVersion() { return 7203; }
extern "C" __attribute__((visibility("default"))) void* createInferRuntime_INTERNAL(void*, int) { return nullptr; }
