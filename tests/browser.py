"""A headless Chromium, driven through DevTools' pipe: what a page asks for and says, and what it does when it is used."""
from __future__ import annotations

import base64
import itertools
import json
import os
import select
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

TIMEOUT = 240  # seconds for an answer; a loaded machine is slow
ARGUMENTS = ('--headless=new', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--no-first-run', '--hide-scrollbars',
             '--disable-background-networking', '--disable-component-update', '--disable-extensions', '--remote-debugging-pipe')


def find_chromium() -> str:
    """Skips the test where there is none."""
    path = next(filter(None, map(shutil.which, ('chromium', 'chromium-browser', 'google-chrome'))), None)
    if path is None:
        pytest.skip('needs Chromium (Debian: apt install chromium)')
    return path


class Browser:
    """One page. requests: Addresses it asked for. messages: Errors and warnings of its console, and exceptions."""

    def __init__(self, profile: Path) -> None:
        command = [find_chromium(), *ARGUMENTS, f'--user-data-dir={profile}', 'about:blank']
        (read_in, self.to), (self.come, write_out) = os.pipe(), os.pipe()
        self.process = subprocess.Popen(['bash', '-c', f'exec "$@" 3<&{read_in} 4>&{write_out}', 'chromium', *command],
                                        pass_fds=(read_in, write_out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.close(read_in)
        os.close(write_out)
        self.numbers, self.buffer = itertools.count(1), b''
        self.requests: list[str] = []
        self.messages: list[str] = []
        self.loaded = 0
        self.session = None
        target = next(t for t in self.call('Target.getTargets')['targetInfos'] if t['type'] == 'page')
        self.session = self.call('Target.attachToTarget', targetId=target['targetId'], flatten=True)['sessionId']
        for domain in ('Page', 'Runtime', 'Log', 'Network'):
            self.call(f'{domain}.enable')

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait(TIMEOUT)
        os.close(self.to)
        os.close(self.come)

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Sends a command and returns its result."""
        number = next(self.numbers)
        session = {'sessionId': self.session} if self.session else {}
        os.write(self.to, json.dumps({'id': number, 'method': method, 'params': parameters, **session}).encode() + b'\0')
        while True:
            message = self._next()
            if message.get('id') == number:
                assert 'error' not in message, f'{method}: {message["error"]}'
                return message['result']

    def _next(self) -> dict[str, Any]:
        """The next message, noted if it is an event."""
        end = time.monotonic() + TIMEOUT
        while b'\0' not in self.buffer:
            assert select.select([self.come], [], [], max(0, end - time.monotonic()))[0], 'Chromium does not answer'
            part = os.read(self.come, 2**20)
            assert part, 'Chromium has ended'
            self.buffer += part
        text, _, self.buffer = self.buffer.partition(b'\0')
        message = json.loads(text)
        self._note(message.get('method'), message.get('params', {}))
        return message

    def _note(self, event: str | None, what: dict[str, Any]) -> None:
        if event == 'Network.requestWillBeSent':
            self.requests.append(what['request']['url'])
        elif event == 'Runtime.exceptionThrown':
            self.messages.append(what['exceptionDetails'].get('exception', {}).get('description', str(what)))
        elif event == 'Runtime.consoleAPICalled' and what['type'] in ('error', 'warning', 'assert'):
            self.messages.append(str(what['args']))
        elif event == 'Log.entryAdded' and what['entry']['level'] in ('error', 'warning'):
            self.messages.append(what['entry']['text'])
        elif event == 'Page.loadEventFired':
            self.loaded += 1

    def open(self, address: str, width: int = 1280, height: int = 900, is_dark: bool = False) -> None:
        """Loads a page in a window of that size."""
        self.call('Emulation.setDeviceMetricsOverride', width=width, height=height, deviceScaleFactor=1, mobile=width < 600)
        self.call('Emulation.setTouchEmulationEnabled', enabled=width < 600)
        self.call('Emulation.setEmulatedMedia', features=[{'name': 'prefers-color-scheme', 'value': 'dark' if is_dark else 'light'}])
        before = self.loaded
        self.call('Page.navigate', url=address)
        while self.loaded == before:
            self._next()

    def run(self, script: str) -> Any:
        """The value of a JavaScript expression, awaited if it is a promise."""
        answer = self.call('Runtime.evaluate', expression=script, returnByValue=True, awaitPromise=True)
        assert 'exceptionDetails' not in answer, answer['exceptionDetails']
        return answer['result'].get('value')

    def wait_for(self, script: str) -> Any:
        """Until an expression is true."""
        end = time.monotonic() + TIMEOUT
        while not (value := self.run(script)):
            assert time.monotonic() < end, f'never true: {script}'
            time.sleep(0.2)
        return value

    def press(self, key: str, times: int = 1) -> None:
        """A key such as ArrowLeft, where the focus is."""
        code = {'ArrowLeft': 37, 'ArrowRight': 39, 'Home': 36, 'End': 35}[key]
        for _ in range(times):
            for kind in ('rawKeyDown', 'keyUp'):
                self.call('Input.dispatchKeyEvent', type=kind, key=key, code=key, windowsVirtualKeyCode=code)

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """With the mouse, from one point of the window to another."""
        for kind, (x, y), buttons in (('mousePressed', start, 1), ('mouseMoved', end, 1), ('mouseReleased', end, 0)):
            self.call('Input.dispatchMouseEvent', type=kind, x=x, y=y, button='left', buttons=buttons, clickCount=1)

    def touch(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """With a finger, likewise."""
        for kind, points in (('touchStart', [start]), ('touchMove', [end]), ('touchEnd', [])):
            self.call('Input.dispatchTouchEvent', type=kind, touchPoints=[{'x': x, 'y': y} for x, y in points])

    def choose_file(self, selector: str, path: Path) -> None:
        """For a field that takes a file."""
        root = self.call('DOM.getDocument')['root']['nodeId']
        field = self.call('DOM.querySelector', nodeId=root, selector=selector)['nodeId']
        self.call('DOM.setFileInputFiles', files=[str(path)], nodeId=field)

    def screenshot(self, path: Path, whole: bool = False) -> None:
        picture = self.call('Page.captureScreenshot', captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(picture['data']))
