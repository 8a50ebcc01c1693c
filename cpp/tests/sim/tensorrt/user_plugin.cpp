// A plugin library of a user's own: registers its creator when it is loaded, as REGISTER_TENSORRT_PLUGIN does.
extern "C" void simtrt_register_plugin(char const* name, char const* version, char const* space);

namespace {
struct Registration {
    Registration() { simtrt_register_plugin("MyPlugin", "2", "mine"); }
} const registration;
}  // namespace
