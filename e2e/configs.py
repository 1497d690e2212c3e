"""The label configs of the flows."""

LABELS = "".join(f'<Label value="{v}"/>' for v in ("Circle", "Square", "Triangle", "Star", "Ring"))
IMAGE = '<Image name="image" value="$image"/>'
BOXES = f'<RectangleLabels name="boxes" toName="image">{LABELS}</RectangleLabels>'
MASKS = f'<BrushLabels name="masks" toName="image">{LABELS}</BrushLabels>'
POLYGONS = f'<PolygonLabels name="polygons" toName="image">{LABELS}</PolygonLabels>'
BITMASKS = f'<BitmaskLabels name="bitmasks" toName="image">{LABELS}</BitmaskLabels>'
NUMBER = '<Number name="box_threshold" toName="image" min="0" max="1" step="0.05"/>'
PROMPT = """
<Style>.lsf-main-content.lsf-requesting .prompt::before { content: ' looking...'; }</Style>
<View className="prompt">
  <TextArea name="prompt" toName="image" editable="true" rows="2" maxSubmissions="1"
            showSubmitButton="true" placeholder="red circle . blue star"/>
</View>
<View className="status">
  <TextArea name="status" toName="image" smart="false" rows="1" maxSubmissions="1"/>
</View>
"""


def view(*controls: str) -> str:
    """A prompt and a status field over the image, and `controls`."""
    return f"<View>{PROMPT}{''.join(controls)}{IMAGE}</View>"
