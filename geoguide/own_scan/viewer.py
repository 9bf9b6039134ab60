"""`geoguide view`: type words, and a browser shows where they are. The server and its panel; see `explore`."""

import contextlib
import html
import io
import socket
import threading
from collections.abc import Generator
from typing import Any

import numpy as np

from geoguide.errors import DataError, GeoGuideError, InputError, first_line
from geoguide.own_scan.explore import HEATS, Exploration
from geoguide.own_scan.scan import palette

MOST_POINTS = 400_000  # that are drawn: a browser turns no more of them smoothly; everything else uses all points
PAUSE = 0.5  # seconds without a new letter after which words count as typed
ROWS = 30  # labels that the legend lists at most, the most frequent ones
INSTALL = "the viewer needs the extra `viewer`: pip install 'geoguide[viewer]'"


def need_viser() -> Any:
    """Import viser, the extra `viewer`.

    Returns:
        The module.

    Raises:
        DataError: It is not installed.
    """
    try:
        import viser  # an extra
    except ImportError as error:
        raise DataError(f"{INSTALL} ({first_line(error)})") from None
    return viser


def check_address(host: str, port: int) -> None:
    """Make sure that a server can listen somewhere, before the scan is read.

    Args:
        host: A name or number of this machine.
        port: 0 for any free one.

    Raises:
        InputError: It cannot.
    """
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except (OSError, UnicodeError, OverflowError) as error:
        said = getattr(error, "strerror", None) or first_line(error)
        raise InputError(f"--host {host} --port {port}: cannot be listened on ({said}); --port 0 takes any") from None


class Viewer:
    """The panel and the cloud in the browser, for one exploration; several browsers see the same.

    Args:
        exploration: What is shown.
        host: The server listens there; 127.0.0.1: this machine alone can ask.
        port: 0 for any free one.

    Attributes:
        exploration: As above.
        server: viser's.

    Raises:
        DataError: viser is not installed.
    """

    def __init__(self, exploration: Exploration, host: str = "127.0.0.1", port: int = 0) -> None:
        viser = need_viser()
        self.exploration = exploration
        self._lock, self._typed = threading.RLock(), threading.Timer(0, lambda: None)
        count = len(exploration.scan.scene)
        chosen = np.arange(count)
        if count > MOST_POINTS:
            chosen = np.sort(np.random.default_rng(0).choice(count, MOST_POINTS, replace=False))
        self._chosen = chosen
        with contextlib.redirect_stdout(io.StringIO()):  # viser frames its address, and not even `verbose` stops it
            self.server = viser.ViserServer(host=host, port=port, label="geoguide", verbose=False)
        self._camera()
        self._panel()
        points = exploration.scan.scene.points[chosen]
        self._cloud = self.server.scene.add_point_cloud(
            "/scan", points, np.zeros_like(points, np.uint8), point_size=_spacing(points), precision="float32",
            point_shading="flat",
        )  # fmt: skip
        self.show()

    @property
    def url(self) -> str:
        """Where a browser finds it."""
        host = self.server.get_host()
        host = "127.0.0.1" if host in ("0.0.0.0", "::") else f"[{host}]" if ":" in host else host
        return f"http://{host}:{self.server.get_port()}"

    def show(self) -> None:
        """Colour the cloud and write the legend as the panel says."""
        with self._lock, self._saying(), self.server.atomic():
            found, coloring = self.exploration, self._coloring.value
            if coloring == "labels" and len(found.words) == 1:
                coloring = "heat map"  # of one word every point would have the one colour
            self._cloud.colors = found.colors(coloring, self._word.value)[self._chosen]
            self._legend.content = self._legend_html(coloring)

    def set_words(self, text: str) -> None:
        """Take the words that were typed; where they cannot be used, the panel says why and the old ones stay.

        Args:
            text: Words separated by commas.
        """
        with self._lock:
            before = self.exploration.words
            self._problem.content = "<p>…</p>"  # the text encoder is loaded for the first new word: seconds
            with self._saying():
                self.exploration.set_words(text)
            words = self.exploration.words
            if words != before:
                self._word.options = words
                self._word.value = next((word for word in words if word not in before), words[0])
                self.show()

    def click(self, origin: tuple[float, ...], direction: tuple[float, ...]) -> None:
        """Tell of the point that was clicked its best words, and show the images that see it.

        Args:
            origin: [3] metres, of the ray of the click.
            direction: [3].
        """
        with self._lock, self._saying():
            point = self.exploration.nearest(origin, direction)
            if point is None:
                return
            rows = "".join(
                f"<tr><td>{html.escape(word)}</td><td>{cosine:.3f}</td></tr>"
                for word, cosine in self.exploration.top_words(point)
            )
            place = ", ".join(f"{value:.2f}" for value in self.exploration.scan.scene.points[point])
            self._told.content = f"<p>point {point} at {place} m</p><table>{rows}</table>"
            word = self._word.value if self._glow.value else None
            found = self.exploration.evidence(point, len(self._images), word) if self._evidence.value else []
            for number, image in enumerate(self._images):
                image.visible = number < len(found)
                if image.visible:
                    image.image = found[number].image
                    image.label = found[number].view

    def stop(self) -> None:
        """End the server."""
        self._typed.cancel()
        with contextlib.redirect_stdout(io.StringIO()):
            self.server.stop()

    def _camera(self) -> None:
        """Look at the whole scan from obliquely above."""
        points = self.exploration.scan.scene.points
        low, high = points.min(0), points.max(0)
        middle, far = (low + high) / 2, float(np.linalg.norm(high - low)) or 1.0
        self.server.scene.set_up_direction("+z")
        self.server.initial_camera.look_at = tuple(middle.tolist())
        self.server.initial_camera.position = tuple((middle + far * np.array([0.5, -0.65, 0.6])).tolist())

    def _panel(self) -> None:
        """The controls, and what they do."""
        gui, found = self.server.gui, self.exploration
        gui.configure_theme(show_share_button=False)
        gui.main_panel.dock_right()
        gui.add_html(f"<p><b>{html.escape(found.scan.scene.name)}</b>: {self._size()}</p>")
        words = gui.add_text("words", ", ".join(found.words), hint="separated by commas")
        self._coloring = gui.add_dropdown("colour by", found.colorings)
        self._word = gui.add_dropdown("heat map of", found.words)
        self._evidence = gui.add_checkbox("images of a point", True, visible="images" in found.colorings)
        self._glow = gui.add_checkbox("2D heat map over images", True, visible="2D heat map" in found.colorings)
        self._problem = gui.add_html("")
        self._legend = gui.add_html("")
        self._told = gui.add_html("<p>A click on a point tells its best words.</p>")
        blank = np.zeros((2, 2, 3), np.uint8)
        self._images = [gui.add_image(blank, label="", visible=False) for _ in range(2)]

        @words.on_update
        def _(_: Any) -> None:
            self._typed.cancel()
            self._typed = threading.Timer(PAUSE, lambda: self.set_words(words.value))
            self._typed.daemon = True
            self._typed.start()

        self._coloring.on_update(lambda _: self.show())
        self._word.on_update(lambda _: self.show())
        self.server.scene.on_click()(lambda event: self.click(event.ray_origin, event.ray_direction))

    def _size(self) -> str:
        total, drawn = len(self.exploration.scan.scene), len(self._chosen)
        return f"{total:,} points" if total == drawn else f"{total:,} points, {drawn:,} of them drawn, chosen at random"

    def _legend_html(self, coloring: str) -> str:
        """What the colours mean."""
        found = self.exploration
        if coloring in HEATS:
            word = self._word.value
            values = found.cosines(word) if coloring == "heat map" else found.cosines_2d(word)
            values = values[~np.isnan(values)]
            if not len(values):
                return "<p>no image sees a point</p>"
            low, high = np.percentile(values, [1, 99])
            rest = "" if coloring == "heat map" else "; what the 2D model says of the images; grey: none sees the point"
            return f"<p>{html.escape(word)}: cosine {low:.3f} (dark blue) to {high:.3f} (yellow){rest}</p>"
        if coloring == "superpoints":
            return f"<p>{int(found.superpoints.max()) + 1:,} superpoints</p>"
        if coloring == "masks":
            return f"<p>{len(np.setdiff1d(found.masks, [-1])):,} masks; grey: in none</p>"
        if coloring == "images":
            return "<p>colours of the images that see a point; grey: none does</p>"
        if coloring != "labels":
            return ""
        counts = np.bincount(found.labels()[0], minlength=len(found.words))
        colors = palette(len(found.words))
        rows = [
            f'<tr><td style="background:#{colors[i].tobytes().hex()};width:1.2em"></td>'
            f"<td>{html.escape(found.words[i])}</td><td>{counts[i] / counts.sum():.1%}</td></tr>"
            for i in np.argsort(-counts, kind="stable")[:ROWS]
        ]
        more = "" if len(counts) <= ROWS else f"<p>and {len(counts) - ROWS} more</p>"
        return f"<table>{''.join(rows)}</table>{more}"

    @contextlib.contextmanager
    def _saying(self) -> Generator[None]:
        """Show an error that a user can act on in the panel; else nothing."""
        try:
            yield
        except GeoGuideError as error:
            self._problem.content = f"<p>{html.escape(str(error))}</p>"
        else:
            self._problem.content = ""


@contextlib.contextmanager
def serving(exploration: Exploration, host: str = "127.0.0.1", port: int = 0) -> Generator[Viewer]:
    """A viewer for as long as it is used, from a notebook or a program too.

    Args:
        exploration: What is shown.
        host: As in `Viewer`.
        port: As in `Viewer`.

    Yields:
        The viewer.

    Raises:
        DataError: viser is not installed.
        InputError: Nothing can listen there.
    """
    need_viser()
    check_address(host, port)
    viewer = Viewer(exploration, host, port)
    try:
        yield viewer
    finally:
        viewer.stop()


def wait(said: str) -> None:
    """Wait until Ctrl-C, which ends a viewer as it should; other signals end it as they end everything.

    Args:
        said: A line that is printed when Ctrl-C is heard.

    Raises:
        KeyboardInterrupt: The process was asked to end in another way (a subclass).
    """
    try:
        print(said, flush=True)
        threading.Event().wait()
    except KeyboardInterrupt as stop:
        if type(stop) is not KeyboardInterrupt:
            raise


def _spacing(points: np.ndarray) -> float:
    """Metres that a drawn point measures: about those between neighbours on a surface that fills the scan's box."""
    sides = np.sort(np.ptp(points.astype(np.float64), axis=0))[1:]
    return float(np.sqrt(max(sides.prod(), 1e-8) / len(points)))
