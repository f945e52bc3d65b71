"""Whether a network is as sure as it is right."""

from kd_lightning.reporting.figures.style import GREY, Figure, as_text, axis, colours, figure, panels
from kd_lightning.runs.run import Run


def reliability(run: Run) -> Figure | None:
    """Accuracy over confidence in 15 bins, and how many of the images are in each."""
    left, right = panels(2)
    diagonal = {"type": "scatter", "mode": "lines", "x": [0, 1], "y": [0, 1], "hoverinfo": "skip", "name": "calibrated"}
    data = [diagonal | {"line": {"dash": "dot", "width": 1.5, "color": GREY}, "showlegend": False}]
    colour = colours(run.networks)
    for network in run.networks:
        bins = run.arrays_of(network.name).get("bins")
        if bins is None:
            continue
        count, confidence, accuracy = bins[bins[:, 0] > 0].T
        error = network.record.get("ece")
        name = as_text(network.title) + ("" if error is None else f" (calibration error {100 * error:.1f} %)")
        style = {"color": colour[network.name], "width": 2}
        line = {"type": "scatter", "x": confidence.tolist(), "line": style, "legendgroup": network.name, "name": name}
        sizes = {"mode": "lines+markers", "marker": {"size": 6}, "customdata": count.tolist()}
        hover = "sure to %{x:.2f}, right in %{y:.2f}<br>%{customdata} images<extra></extra>"
        data.append(line | sizes | {"y": accuracy.tolist(), "hovertemplate": hover})
        share = {"y": (100 * count / count.sum()).tolist(), "mode": "lines+markers", "showlegend": False}
        hover = "sure to %{x:.2f}: %{y:.1f} % of the images<extra></extra>"
        place = {"xaxis": "x2", "yaxis": "y2", "hovertemplate": hover, "marker": {"size": 6}}
        data.append(line | share | place)
    if len(data) == 1:
        return None
    return figure(
        data,
        height=380,
        xaxis=axis("confidence", domain=left, range=[-0.02, 1.03]),
        yaxis=axis("accuracy", range=[-0.02, 1.03]),
        xaxis2=axis("confidence", domain=right, anchor="y2", range=[-0.02, 1.03]),
        yaxis2=axis("% of the images", anchor="x2"),
    )
