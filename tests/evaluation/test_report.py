"""The report contains the metrics, needs no external resources, and looks right in a browser."""

import json
import re

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

import browser
from somknn import KNeighborsClassifierCV, datasets
from somknn.evaluation import MethodResult, evaluate_predictions, report_pictures, study, write_report
from somknn.images import preset
from somknn.threads import in_thread


@pytest.fixture(scope="module")
def data():
    return datasets.load("digits", train_size=900, test_size=400)


@pytest.fixture(scope="module")
def search(data):
    return KNeighborsClassifierCV(range(1, 9), cv=5).fit(data.X_train, data.y_train)


@pytest.fixture(scope="module")
def methods(data, search):
    judge = study.Judge(search.best_estimator_, data)
    settings = ("Before <k = 5>", 5, "uniform"), ("After", 1, "distance")
    judged = [judge(name, {"n_neighbors": k, "weights": weights}, 100) for name, k, weights in settings]
    return [study.with_fold_scores(method, search.cv_results_) for method in judged]


@pytest.fixture(scope="module")
def written(tmp_path_factory, data, search, methods):
    path = tmp_path_factory.mktemp("report") / "report.html"
    write_report(
        path, methods, data=data, tuning=search.cv_results_, command="somknn tune --out 'a & b'", seconds={"load": 0.5}
    )
    return path


def test_judging_equals_fitted_estimators(data, search, methods):
    from somknn import KNeighborsClassifier

    for method in methods:
        model = KNeighborsClassifier(**method.parameters).fit(data.X_train, data.y_train)
        evaluation = method.evaluation
        np.testing.assert_array_equal(evaluation.classes[evaluation.predicted], model.predict(data.X_test))
        np.testing.assert_array_equal(evaluation.probabilities, model.predict_proba(data.X_test))
        assert len(method.cross_validation) == 5
    found = in_thread(search.best_estimator_.index_.search, data.X_test, 2)
    judge = study.Judge(search.best_estimator_, data, found=found)
    again = [judge(method.name, method.parameters, 0) for method in methods[::-1]]  # the larger k comes second here
    for method, other in zip(methods[::-1], again, strict=True):
        np.testing.assert_array_equal(method.evaluation.probabilities, other.evaluation.probabilities)
        np.testing.assert_array_equal(method.evaluation.predicted, other.evaluation.predicted)
        assert all(np.isnan(score.low) for score in other.evaluation.scores.values())
        assert all(score.low <= score.value <= score.high for score in method.evaluation.scores.values())
        assert (
            study.with_fold_scores(other, KNeighborsClassifierCV([2]).fit(data.X_train, data.y_train).cv_results_)
            is other
        )


def test_nothing_comes_from_outside(written, methods):
    text = written.read_text(encoding="utf-8")
    sources = re.findall(r'(?:src|href)="([^"]*)"', text)
    wrong = min(int((m.evaluation.truth != m.evaluation.predicted).sum()) for m in methods)
    curves = 2 + 2 * len(methods)  # tuning and calibration; ROC and precision-recall of each method
    assert len(sources) == 1 + curves + wrong * (1 + 5)  # the icon; each mistake with five neighbours
    assert all(source.startswith("data:") for source in sources)
    assert "@import" not in text
    assert "url(" not in text
    assert "<script" not in text
    assert "$" not in re.sub(r"base64,[^\"]*", "", text)
    assert all('alt="' in image for image in re.findall(r"<img[^>]*>", text))


def test_names_and_commands_are_escaped(written):
    text = written.read_text(encoding="utf-8")
    assert "Before &lt;k = 5&gt;" in text
    assert "<k = 5>" not in text
    assert "somknn tune --out &#x27;a &amp; b&#x27;" in text


def test_the_surest_mistakes_come_first(methods):
    evaluation = methods[0].evaluation
    rows = report_pictures.worst_mistakes(evaluation, 10_000)
    assert sorted(rows) == np.flatnonzero(evaluation.truth != evaluation.predicted).tolist()
    sure = evaluation.probabilities[rows, evaluation.predicted[rows]]
    assert (np.diff(sure) <= 0).all()


def test_any_classifier_fits_in(tmp_path, data):
    """No probabilities, no neighbours, no images, names as labels."""
    import dataclasses

    names = np.array([f"class {c}" for c in range(10)])
    plain = dataclasses.replace(
        data, image_shape=None, y_train=names[data.y_train], y_test=names[data.y_test], target_names=list(names)
    )
    model = LogisticRegression(max_iter=2000).fit(plain.X_train[:200], plain.y_train[:200])
    result = MethodResult(
        "linear", evaluate_predictions(plain.y_test, model.predict(plain.X_test), n_resamples=10), model=model
    )
    write_report(tmp_path / "r.html", [result], data=plain)
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "ROC" not in text.replace("ROC-AUC", "")
    assert "taken for class" in text


@pytest.mark.parametrize("name", ["balanced", "accurate"])
def test_mistakes_of_classifiers_of_images_show_their_neighbours(tmp_path, data, name):
    model = preset(name, image_shape=data.image_shape).fit(data.X_train, data.y_train)
    result = MethodResult(name, evaluate_predictions(data.y_test, model.predict(data.X_test)), model=model)
    write_report(tmp_path / "r.html", [result], data=data)
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    mistakes = text.count('<img class="query"')
    assert mistakes > 0
    assert text.count('<img alt="Neighbour') == 5 * mistakes


def test_the_mistakes_are_those_of_the_most_accurate_method(tmp_path, data):
    def result(name, n_wrong):
        predicted = data.y_test.copy()
        predicted[:n_wrong] = (predicted[:n_wrong] + 1) % 10
        return MethodResult(name, evaluate_predictions(data.y_test, predicted, n_resamples=0))

    write_report(tmp_path / "r.html", [result("two", 2), result("one", 1), result("three", 3)], data=data)
    assert "Mistakes of one" in (tmp_path / "r.html").read_text(encoding="utf-8")


def test_a_method_without_neighbours_borrows_some(tmp_path, data, methods):
    predicted = data.y_test.copy()
    predicted[7] = (predicted[7] + 1) % 10
    best = MethodResult("oracle", evaluate_predictions(data.y_test, predicted, n_resamples=0))
    write_report(tmp_path / "r.html", [*methods, best], data=data)
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "Mistakes of oracle" in text
    assert "nearest training rows, as Before &lt;k = 5&gt; sees them" in text
    nearest = methods[0].model.kneighbors(data.X_test[7:8], 5)[1][0]
    shown = re.findall(r'alt="Neighbour \d: (\d)"', text)
    assert shown == [str(label) for label in data.y_train[nearest]]


def test_no_mistakes_at_all(tmp_path, data):
    right = evaluate_predictions(data.y_test, data.y_test, n_resamples=0)
    write_report(tmp_path / "r.html", [MethodResult("oracle", right)], data=data)
    assert "<p>None.</p>" in (tmp_path / "r.html").read_text(encoding="utf-8")


def test_what_does_not_fit_is_refused_and_nothing_is_written(tmp_path, data, methods):
    other = evaluate_predictions([0, 1], [0, 1], n_resamples=0)
    with pytest.raises(ValueError, match="2 rows, but the data set has 400"):
        write_report(tmp_path / "r.html", [MethodResult("other", other)], data=data)
    with pytest.raises(ValueError, match="at least one method"):
        write_report(tmp_path / "r.html", [], data=data)
    with pytest.raises(FileNotFoundError):
        write_report(tmp_path / "absent" / "r.html", methods, data=data)
    assert list(tmp_path.iterdir()) == []


def test_records_are_json(methods):
    record = json.loads(json.dumps(methods[1].to_dict()))
    assert record["scores"]["accuracy"]["value"] == methods[1].evaluation.scores["accuracy"].value
    assert record["cross_validation_mean"] == np.average(methods[1].cross_validation)


@pytest.mark.skipif(not browser.AVAILABLE, reason="needs chromium and chromedriver")
@pytest.mark.parametrize("width", [1200, 375])
def test_in_a_browser(written, methods, width):
    with browser.Browser(width) as page:
        page.open(written)
        assert page.console() == []
        broken = "return [...document.images].filter(i => !i.complete || !i.naturalWidth).length"
        assert page.evaluate(broken) == 0
        assert page.evaluate("return document.documentElement.scrollWidth") <= width
        cells = page.evaluate(
            "return [...document.querySelectorAll('#metrics td')].map("
            "c => [c.dataset.metric, Number(c.dataset.method), Number(c.dataset.value), c.children[0].innerText])"
        )
    shown = {(name, column): (value, text) for name, column, value, text in cells}
    for column, method in enumerate(methods):
        expected = {name: score.value for name, score in method.evaluation.scores.items()}
        expected["cross_validation"] = np.average(method.cross_validation)
        for name, value in expected.items():
            in_page, text = shown.pop((name, column))
            assert in_page == value
            assert text == (f"{value:.4f}" if name == "log_loss" else f"{100 * value:.2f}")
    assert shown == {}
