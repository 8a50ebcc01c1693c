// The test program. One process tests one TensorRT release: CUREADY_TEST_RELEASE, CUREADY_TEST_SIM.
#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <doctest/doctest.h>
