// libnvinfer_plugin: registers the creators that NVIDIA's plugin library has, when it is initialised.
extern "C" void simtrt_register_plugin(char const* name, char const* version, char const* space);

extern "C" __attribute__((visibility("default"))) bool initLibNvInferPlugins(void*, char const* space) {
    simtrt_register_plugin("EfficientNMS_TRT", "1", space ? space : "");
    simtrt_register_plugin("InstanceNormalization_TRT", "1", space ? space : "");
    return true;
}
