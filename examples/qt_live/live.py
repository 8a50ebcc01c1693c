"""A window that shows what an engine gives back, live, while the window stays responsive.

    pip install 'cuready[runtime]' PySide6-Essentials
    python live.py model.plan

The engine must have one float32 input and one float32 output. A travelling wave goes in; what
comes out is drawn as a curve. ``--frames N`` ends after N results, ``--screenshot FILE`` then keeps
the last picture.

Nothing blocks the window: a timer submits, and the pool's thread hands each result to Qt's event
queue with a signal. A frame that comes due while one is under way is left out, so results never
pile up behind a slow GPU.
"""

from __future__ import annotations

import argparse
import sys
import time

import numpy as np
from PySide6.QtCore import QObject, QPointF, Qt, QTimer, Signal, Slot
from PySide6.QtGui import QColor, QPainter, QPaintEvent, QPen, QPolygonF
from PySide6.QtWidgets import QApplication, QLabel, QVBoxLayout, QWidget

import cuready.runtime as rt
from cuready.errors import CureadyError

INTERVAL_MS = 16


class Inference(QObject):
    """Sends frames to the engine; ``ready`` and ``failed`` arrive in the window's thread."""

    ready = Signal(object)  # the output, an array
    failed = Signal(str)

    def __init__(self, plan: str) -> None:
        super().__init__()
        engine = rt.Runtime().load(plan)
        if len(engine.inputs) != 1 or len(engine.outputs) != 1:
            raise ValueError(f"{plan}: one input and one output are needed")
        (self.input,) = engine.inputs.values()
        (self.output,) = engine.outputs.values()
        if {self.input.dtype, self.output.dtype} != {"float32"}:
            raise ValueError(f"{plan}: {self.input.dtype} in, {self.output.dtype} out; not float32")
        self.shape = self.input.profiles[0][1] if self.input.profiles else self.input.shape
        self.pool = engine.create_pool(1, spin=False)
        self.under_way: rt.Future | None = None
        self.sent = 0

    @Slot()
    def send_frame(self) -> None:
        if self.under_way is not None and not self.under_way.done():
            return
        size = int(np.prod(self.shape))
        wave = np.sin(np.linspace(0, 2 * np.pi, size) + 0.1 * self.sent)
        self.sent += 1
        try:
            self.under_way = self.pool.submit(
                {self.input.name: wave.astype(np.float32).reshape(self.shape)}
            )
        except CureadyError as error:
            self.failed.emit(str(error))
            return
        self.under_way.add_done_callback(self._done)

    def _done(self, future: rt.Future) -> None:
        """On the pool's thread: touch no widget here. Emitting queues the slots' calls."""
        error = future.exception()
        if error is None:
            self.ready.emit(future.result()[self.output.name])
        else:
            # What TensorRT itself said stands beside the error's own sentence.
            self.failed.emit("; ".join([str(error), *map(str, getattr(error, "messages", ()))]))

    def close(self) -> None:
        self.pool.drain()
        self.pool.close()


class Curve(QWidget):
    """Draws an array's values from left to right, scaled to the widget."""

    def __init__(self) -> None:
        super().__init__()
        self.values = np.zeros(0, np.float32)
        self.setMinimumSize(480, 240)

    def show_values(self, values: np.ndarray) -> None:
        self.values = values.ravel()
        self.update()

    def paintEvent(self, _: QPaintEvent) -> None:  # noqa: N802  # Qt's name
        painter = QPainter(self)
        painter.fillRect(self.rect(), QColor("#10141a"))
        if self.values.size < 2:
            return
        low, high = float(self.values.min()), float(self.values.max())
        scale = (self.height() - 20) / ((high - low) or 1.0)
        step = self.width() / (self.values.size - 1)
        points = [
            QPointF(index * step, self.height() - 10 - (float(value) - low) * scale)
            for index, value in enumerate(self.values)
        ]
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(QPen(QColor("#76b900"), 2))
        painter.drawPolyline(QPolygonF(points))


class Window(QWidget):
    """The curve, and a line that says how it goes."""

    def __init__(self, inference: Inference, frames: int) -> None:
        super().__init__()
        self.setWindowTitle("cuready live")
        self.curve, self.status = Curve(), QLabel("waiting for the first result")
        self.status.setTextFormat(Qt.TextFormat.PlainText)  # messages of libraries are not markup
        layout = QVBoxLayout(self)
        layout.addWidget(self.curve, 1)
        layout.addWidget(self.status)
        self.frames, self.shown = frames, 0
        self.error = ""
        self.started = time.perf_counter()
        inference.ready.connect(self.show_result)
        inference.failed.connect(self.show_error)

    @Slot(object)
    def show_result(self, values: np.ndarray) -> None:
        if self.frames and self.shown == self.frames:
            return
        self.shown += 1
        self.curve.show_values(values)
        rate = self.shown / (time.perf_counter() - self.started)
        self.status.setText(
            f"{self.shown} results, {rate:.0f}/s, from {values.min():.3f} to {values.max():.3f}"
        )
        if self.shown == self.frames:
            QApplication.quit()

    @Slot(str)
    def show_error(self, message: str) -> None:
        self.error = message
        self.status.setText(message)
        if self.frames:
            QApplication.exit(1)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("plan")
    parser.add_argument("--frames", type=int, default=0, help="end after so many results")
    parser.add_argument("--screenshot", help="write the window's last picture to this file (PNG)")
    options = parser.parse_args()
    app = QApplication(sys.argv[:1])
    try:
        inference = Inference(options.plan)
    except (CureadyError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    window = Window(inference, options.frames)
    window.show()
    timer = QTimer()
    timer.timeout.connect(inference.send_frame)
    timer.start(INTERVAL_MS)
    code = app.exec()
    timer.stop()
    inference.close()
    print(window.status.text())
    if options.screenshot and not window.grab().save(options.screenshot):
        print(f"cannot write {options.screenshot}", file=sys.stderr)
        return 1
    return code


if __name__ == "__main__":
    sys.exit(main())
