import pytest


@pytest.mark.parametrize("asset_id", ["", "../up", "a b", "Mug", 'x"onload="'])
def test_an_id_that_could_leave_its_folder_or_attribute_is_refused(make_suite, tmp_path, asset_id):
    with pytest.raises(ValueError, match="expected a-z, 0-9 and _"):
        make_suite(tmp_path, id=asset_id)
