"""Home Assistant's own core with its MQTT integration, without its web page: what a test asks on a line of standard input is
answered on a line of standard output, in JSON.

    python core.py FOLDER BROKER_PORT HTTP_PORT

FOLDER is its configuration, which it keeps over a restart. It is put together as bootstrap.py does, without the integrations
that a fresh installation has beside MQTT: those need packages and a network.
"""

import asyncio
import base64
import json
import logging
import sys
from pathlib import Path

from homeassistant import bootstrap, config_entries, core, loader
from homeassistant.components import mqtt
from homeassistant.components.camera import async_get_image
from homeassistant.components.mqtt.config_flow import FlowHandler
from homeassistant.config_entries import ConfigEntry
from homeassistant.core_config import async_process_ha_core_config
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers import device_registry, entity_registry
from homeassistant.setup import async_setup_component


class Complaints(logging.Handler):
    """What integrations and templates complain about."""

    def __init__(self):
        super().__init__(logging.WARNING)
        self.lines = []

    def emit(self, record):
        if record.name.startswith(("homeassistant.components.", "homeassistant.helpers.template")):
            self.lines.append(f"{record.levelname} {record.name}: {record.getMessage()}")


async def start(folder, broker_port, http_port):
    Path(folder, "configuration.yaml").touch()
    hass = core.HomeAssistant(folder)
    loader.async_setup(hass)
    # What it needs is installed, or the test says so: it must not look for a network.
    hass.config.skip_pip = True
    config = {"http": {"server_host": "127.0.0.1", "server_port": http_port}}
    hass.config_entries = config_entries.ConfigEntries(hass, config)
    await loader.async_get_custom_components(hass)
    await bootstrap.async_load_base_functionality(hass)
    for component in "homeassistant", "persistent_notification":
        assert await async_setup_component(hass, component, config), component
    await async_process_ha_core_config(hass, {})
    assert await async_setup_component(hass, "http", config)
    broker = {"broker": "127.0.0.1", "port": broker_port, "discovery": True}
    if entry := next(iter(hass.config_entries.async_entries(mqtt.DOMAIN)), None):
        hass.config_entries.async_update_entry(entry, data=broker)
        assert await async_setup_component(hass, mqtt.DOMAIN, config)
    else:
        entry = ConfigEntry(
            data=broker, discovery_keys={}, domain=mqtt.DOMAIN, minor_version=FlowHandler.MINOR_VERSION, options={},
            source="user", title="broker", unique_id=None, version=FlowHandler.VERSION,
        )
        await hass.config_entries.async_add(entry)
    assert entry.state is config_entries.ConfigEntryState.LOADED, entry.state
    await hass.async_start()
    return hass


async def answer(hass, request, complaints):
    match request["ask"]:
        case "states":
            return {state.entity_id: {"state": state.state, **state.attributes} for state in hass.states.async_all()}
        case "entities":
            entries = entity_registry.async_get(hass).entities.values()
            return {entry.unique_id: entry.entity_id for entry in entries if entry.platform == mqtt.DOMAIN}
        case "devices":
            devices = device_registry.async_get(hass).devices.values()
            return [
                {
                    "identifiers": [identifier for _, identifier in device.identifiers],
                    "name": device.name,
                    "configuration_url": device.configuration_url,
                    "sw_version": device.sw_version,
                }
                for device in devices
            ]
        case "call":
            await hass.services.async_call(
                request["domain"], request["service"], request["data"], blocking=True
            )
            return None
        case "image":
            try:
                image = await async_get_image(hass, request["entity"])
            except HomeAssistantError:
                return None
            return base64.b64encode(image.content).decode()
        case "complaints":
            return complaints.lines
        case "stop":
            await hass.async_stop()
            return None


async def main(folder, broker_port, http_port):
    complaints = Complaints()
    logging.getLogger().addHandler(complaints)
    hass = await start(folder, int(broker_port), int(http_port))
    loop = asyncio.get_running_loop()
    print(json.dumps({"answer": "started"}), flush=True)
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        request = json.loads(line)
        try:
            reply = {"answer": await answer(hass, request, complaints)}
        except Exception as error:
            reply = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(reply, default=str), flush=True)
        if request["ask"] == "stop":
            return


asyncio.run(main(*sys.argv[1:]))
