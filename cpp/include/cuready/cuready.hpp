// Everything: include this, link cuready::runtime.
//
//   auto library = cuready::Library::open();                         // finds TensorRT 8.5-8.6, 10 or 11
//   auto engine  = cuready::load_engine(library, "model.plan");      // refuses by name what can not run
//   auto context = engine->create_context();
//   cuready::Stream stream(engine->device());
//   context->bind(engine->index("x"), {data, cuready::DataType::float32, {1, 3, 224, 224}});
//   context->allocate_output(engine->index("y"));
//   context->enqueue(stream);                                        // as often as you like
//   stream.synchronize();
//   cuready::OutputView y = context->output(engine->index("y"));
#pragma once

#include "cuready/benchmark.hpp"
#include "cuready/context.hpp"
#include "cuready/device.hpp"
#include "cuready/driver.hpp"
#include "cuready/engine.hpp"
#include "cuready/error.hpp"
#include "cuready/export.hpp"
#include "cuready/kernel.hpp"
#include "cuready/library.hpp"
#include "cuready/log.hpp"
#include "cuready/plan.hpp"
#include "cuready/pool.hpp"
#include "cuready/types.hpp"
