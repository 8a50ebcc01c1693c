// What every file of exported driver functions needs.
#pragma once

#include "control.h"
#include "entry.hpp"
#include "state.hpp"

#define SIM_TRY(expression)                                     \
    do {                                                        \
        if (::sim::Result const failed_ = (expression)) return failed_; \
    } while (0)
